//! How an artifact is shown: which ones a person opens as a report, and what type each is served as.

use crate::ArtifactPath;

/// Directories that hold one report each, entered through its `index.html`.
const REPORT_DIRECTORIES: [&str; 6] =
    ["playwright-report", "allure-report", "lcov-report", "coverage", "htmlcov", "html-report"];

/// Whether `path` is an HTML report's entry page rather than one of its parts: the `index.html` of a well-known
/// report directory, or any page directly in a directory that calls itself a report, or at the top.
pub fn opens_as_report(path: &ArtifactPath) -> bool {
    if !matches!(path.extension().as_deref(), Some("html" | "htm")) {
        return false;
    }
    let Some(parent) = path.parent() else {
        return true;
    };
    let directory = parent.rsplit('/').next().unwrap_or(parent).to_ascii_lowercase();
    if REPORT_DIRECTORIES.contains(&directory.as_str()) {
        return path.file_name().eq_ignore_ascii_case("index.html");
    }
    directory.contains("report")
}

/// The media type to serve `path` as, by its extension; what is unknown is bytes, never guessed from the content.
pub fn content_type(path: &ArtifactPath) -> &'static str {
    match path.extension().as_deref().unwrap_or_default() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" | "cjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "xml" => "application/xml",
        "txt" | "log" | "md" => "text/plain; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "ico" => "image/x-icon",
        "webm" => "video/webm",
        "mp4" => "video/mp4",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "wasm" => "application/wasm",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "gz" | "tgz" => "application/gzip",
        "tar" => "application/x-tar",
        "har" => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(raw: &str) -> ArtifactPath {
        ArtifactPath::parse(raw).unwrap()
    }

    #[test]
    fn a_reports_entry_page_is_told_from_its_parts() {
        for entry in [
            "playwright-report/index.html",
            "out/allure-report/index.html",
            "coverage/lcov-report/index.html",
            "report.html",
            "reports/login.HTML",
            "mochawesome-report/mochawesome.html",
        ] {
            assert!(opens_as_report(&path(entry)), "{entry}");
        }
        for part in [
            "playwright-report/trace/index.html",
            "playwright-report/data/page.html",
            "allure-report/widgets/summary.html",
            "coverage/lcov-report/app.js.html",
            "playwright-report/index.html.png",
            "src/templates/index.html",
        ] {
            assert!(!opens_as_report(&path(part)), "{part}");
        }
    }

    #[test]
    fn the_type_follows_the_extension_and_nothing_else() {
        assert_eq!(content_type(&path("a/INDEX.HTML")), "text/html; charset=utf-8");
        assert_eq!(content_type(&path("a/x.png")), "image/png");
        assert_eq!(content_type(&path("a/html")), "application/octet-stream");
        assert_eq!(content_type(&path("a/.html")), "application/octet-stream");
    }
}
