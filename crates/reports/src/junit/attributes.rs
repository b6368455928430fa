//! The few attributes of a tag that say something, each bounded.

use quick_xml::events::BytesStart;

use crate::ReportError;
use crate::collector::{NAME_BYTES, SUITE_BYTES};
use crate::text::{escaped, unescaped};

/// No tool writes more than a dozen.
const MAX_ATTRIBUTES: usize = 256;
/// Colour codes and padding are removed later, so somewhat more is taken than is kept.
const MESSAGE_BYTES: usize = 32 << 10;

/// Missing attributes are `None`; of a repeated one the first counts.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    pub name: Option<String>,
    pub class: Option<String>,
    pub file: Option<String>,
    pub time: Option<String>,
    pub message: Option<String>,
    pub kind: Option<String>,
    pub status: Option<String>,
    pub result: Option<String>,
}

impl Attributes {
    pub fn of(tag: &BytesStart<'_>, line: u64) -> Result<Self, ReportError> {
        let mut known = Self::default();
        // The parser's own check for repetition compares every pair.
        for (count, attribute) in tag.attributes().with_checks(false).enumerate() {
            let attribute =
                attribute.map_err(|error| ReportError::Xml { line, reason: escaped(&error.to_string()) })?;
            if count >= MAX_ATTRIBUTES {
                let reason = format!("a tag has more than {MAX_ATTRIBUTES} attributes");
                return Err(ReportError::Xml { line, reason });
            }
            let (field, limit) = match attribute.key.as_ref() {
                "name" => (&mut known.name, NAME_BYTES * 2),
                "classname" => (&mut known.class, SUITE_BYTES * 2),
                "file" => (&mut known.file, SUITE_BYTES * 2),
                "time" => (&mut known.time, 64),
                "message" => (&mut known.message, MESSAGE_BYTES),
                "type" => (&mut known.kind, SUITE_BYTES),
                "status" => (&mut known.status, 32),
                "result" => (&mut known.result, 32),
                _ => continue,
            };
            field.get_or_insert_with(|| unescaped(&attribute.value, limit));
        }
        Ok(known)
    }

    /// `time` in milliseconds.
    pub fn duration_ms(&self) -> f64 {
        self.time.as_deref().and_then(seconds).unwrap_or(0.0) * 1000.0
    }
}

/// Reads `12.5`, `1,234.5`, `1.234,5` and `0,5`: the last separator is the decimal one, except that a lone comma before
/// exactly three digits groups thousands, as Surefire wrote it, unless there is only a zero before it.
fn seconds(raw: &str) -> Option<f64> {
    let raw = raw.trim();
    let plain = match (raw.rfind(','), raw.rfind('.')) {
        (None, _) => raw.to_owned(),
        (Some(comma), Some(dot)) if comma < dot => raw.replace(',', ""),
        (Some(_), Some(_)) => raw.replace('.', "").replace(',', "."),
        (Some(comma), None) => {
            let groups = raw.matches(',').count() > 1;
            let thousands = raw.len() - comma == 4 && !matches!(&raw[..comma], "0" | "-0" | "");
            raw.replace(',', if groups || thousands { "" } else { "." })
        }
    };
    plain.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_spelling() {
        for (raw, expected) in [
            ("12.5", Some(12.5)),
            (" 3 ", Some(3.0)),
            ("1,234.5", Some(1234.5)),
            ("1.234,5", Some(1234.5)),
            ("1,234", Some(1234.0)),
            ("1,234,567", Some(1_234_567.0)),
            ("0,125", Some(0.125)),
            ("2,5", Some(2.5)),
            ("1e3", Some(1000.0)),
            ("", None),
            ("soon", None),
            (",", None),
        ] {
            assert_eq!(seconds(raw), expected, "{raw:?}");
        }
        assert!(seconds("NaN").unwrap().is_nan());
    }
}
