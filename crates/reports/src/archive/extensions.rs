//! What extension headers (PAX `x` and `g`, GNU `L`) say about the entry after them.
//!
//! They exist for names that don't fit into a header. One that says something else than a header that would have
//! been enough is there to show different readers different files.

use super::ArchiveError;
use crate::text::escaped_bytes;

/// A header's name field; longer names need an extension or the `ustar` prefix.
const NAME_FIELD_BYTES: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Extensions {
    name: Option<Vec<u8>>,
    pax_seen: bool,
    pub size: Option<u64>,
    pub sparse: bool,
}

impl Extensions {
    pub fn is_empty(&self) -> bool {
        self.name.is_none() && !self.pax_seen
    }

    /// Takes a GNU long name.
    pub fn long_name(&mut self, mut name: Vec<u8>, at: u64) -> Result<(), ArchiveError> {
        if name.last() == Some(&0) {
            name.pop();
        }
        self.set_name(&name, at)
    }

    /// Takes the records of a PAX header.
    pub fn pax(&mut self, records: &[u8], at: u64) -> Result<(), ArchiveError> {
        if std::mem::replace(&mut self.pax_seen, true) {
            return Err(ArchiveError::Malformed { at, what: "one entry has two PAX headers" });
        }
        for record in (Records { rest: records, at }) {
            let (key, value) = record?;
            match key {
                b"path" => self.set_name(value, at)?,
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
                    if size.is_none() || std::mem::replace(&mut self.size, size).is_some() {
                        return Err(ArchiveError::Malformed { at, what: "a PAX header has a bad size" });
                    }
                }
                _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
                _ => {}
            }
        }
        Ok(())
    }

    /// The name of the entry whose header says `header_name`.
    pub fn name(&self, header_name: &[u8]) -> Result<Vec<u8>, ArchiveError> {
        let Some(name) = &self.name else {
            return Ok(header_name.to_vec());
        };
        let would_fit = name.is_ascii() && name.len() <= NAME_FIELD_BYTES;
        let plain = |name: &[u8]| {
            let name = name.strip_prefix(b"./").unwrap_or(name);
            name.strip_suffix(b"/").unwrap_or(name).to_vec()
        };
        if would_fit && plain(name) != plain(header_name) {
            return Err(ArchiveError::Ambiguous { name: escaped_bytes(name), what: "name" });
        }
        Ok(name.clone())
    }

    fn set_name(&mut self, name: &[u8], at: u64) -> Result<(), ArchiveError> {
        match self.name.replace(name.to_vec()) {
            None => Ok(()),
            Some(_) => Err(ArchiveError::Malformed { at, what: "one entry has two extended names" }),
        }
    }
}

/// A global header may hold comments and times; names, sizes and holes are an entry's own.
pub(super) fn check_global(records: &[u8], at: u64) -> Result<(), ArchiveError> {
    for record in (Records { rest: records, at }) {
        let (key, _) = record?;
        if matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse.") {
            return Err(ArchiveError::Malformed { at, what: "a global header describes single files" });
        }
    }
    Ok(())
}

/// The `LENGTH KEY=VALUE\n` records of a PAX header.
struct Records<'a> {
    rest: &'a [u8],
    at: u64,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = split_record(self.rest);
        self.rest = record.map_or(&[], |(_, _, rest)| rest);
        Some(match record {
            Some((key, value, _)) => Ok((key, value)),
            None => Err(ArchiveError::Malformed { at: self.at, what: "a PAX header can't be understood" }),
        })
    }
}

fn split_record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = records.iter().take(8).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
    let record = records.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &records[length..]))
}
