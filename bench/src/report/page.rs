//! The documentation's page: everything between its two markers is written here, from results, and never by hand.

use std::path::Path;

use anyhow::Context as _;

use crate::report::{Document, chart, distributed};
use crate::samples::Series;

const BEGIN: &str = "<!-- written by scripts/bench: begin -->";
const END: &str = "<!-- written by scripts/bench: end -->";
/// Beside the page.
const CHART: &str = "performance.svg";

/// Replaces what is between the markers of `page`, and the chart beside it.
pub fn write(page: &Path, document: &Document) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(page).with_context(|| format!("can't read {}", page.display()))?;
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("no line {BEGIN:?} in the page"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("no line {END:?} in the page"))?;
    let empty = Series::default();
    let series = document.parts.get("distributed").map_or(&empty, |part| &part.figures);
    let mut written = String::new();
    if let Some(svg) = chart::svg(series) {
        std::fs::write(page.with_file_name(CHART), svg)?;
        written.push_str(&format!("![{}, and its peers]({CHART})\n\n", distributed::GANTRY));
    }
    written.push_str(&document.tables());
    std::fs::write(page, format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", written.trim_end()))?;
    Ok(())
}
