//! What there is to say about one thing: a name and a value per line.

use std::io::Write as _;

use super::text::line;
use crate::failure::Failure;

pub fn print(facts: impl IntoIterator<Item = (impl AsRef<str>, String)>) -> Result<(), Failure> {
    let facts: Vec<_> = facts.into_iter().map(|(name, value)| (line(name.as_ref()), line(&value))).collect();
    let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut out = anstream::stdout().lock();
    for (name, value) in facts {
        writeln!(out, "{}", format!("{name:<width$}  {value}").trim_end())?;
    }
    Ok(())
}
