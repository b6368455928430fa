//! Values with units, as people type them.

use std::time::Duration;

/// `90`, `90s`, `10m`, `1h30m`, `2d`: whole seconds, at least one.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write 90s, 10m, 1h30m or 2d");
    let mut seconds = 0_u64;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number = rest[..digits].parse::<u64>().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "" | "s" => 1,
            "m" | "min" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(wrong()),
        };
        seconds = number.checked_mul(unit).and_then(|part| seconds.checked_add(part)).ok_or_else(wrong)?;
        rest = &rest[letters..];
    }
    if seconds == 0 { Err(wrong()) } else { Ok(Duration::from_secs(seconds)) }
}

/// As [`duration`], for the API's 32 bits.
pub fn seconds(text: &str) -> Result<u32, String> {
    u32::try_from(duration(text)?.as_secs()).map_err(|_| format!("{text} is too long"))
}

/// `512m`, `2g`, `1.5g`, or a plain number of MiB; in MiB, at least one.
pub fn memory(text: &str) -> Result<u32, String> {
    let wrong = || format!("{text:?} is no amount of memory: write 512m, 2g or 1.5g");
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &lower[number.len()..] {
        "" | "m" | "mb" | "mib" => 1.0,
        "k" | "kb" | "kib" => 1.0 / 1024.0,
        "g" | "gb" | "gib" => 1024.0,
        "t" | "tb" | "tib" => 1024.0 * 1024.0,
        _ => return Err(wrong()),
    };
    let mib = number.parse::<f64>().map_err(|_| wrong())? * unit;
    if (1.0..=f64::from(u32::MAX)).contains(&mib) { Ok(mib.ceil() as u32) } else { Err(wrong()) }
}

/// Cores, such as `1.5`.
pub fn cpus(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(cpus) if cpus.is_finite() && cpus > 0.0 => Ok(cpus),
        _ => Err(format!("{text:?} is no number of cores: write 2 or 0.5")),
    }
}

/// `KEY=VALUE`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not what is wanted: write KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_add_up() {
        for (text, wanted) in [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172_800)] {
            assert_eq!(seconds(text), Ok(wanted), "{text}");
        }
        for bad in
            ["", "0", "m", "10x", "-5s", "1.5h", "99999999999999999999", "18446744073709551615d", "5 m"]
        {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn memory_is_in_mebibytes() {
        for (text, wanted) in [("512", 512), ("512m", 512), ("2g", 2048), ("1.5G", 1536), ("1tb", 1_048_576)]
        {
            assert_eq!(memory(text), Ok(wanted), "{text}");
        }
        for bad in ["", "g", "-1g", "2x", "nan", "inf", "1e30g"] {
            assert!(memory(bad).is_err(), "{bad}");
        }
    }
}
