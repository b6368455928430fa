//! `Content-Disposition` for names that a container chose.

use axum::http::HeaderValue;

/// Says that the content is to be saved as `name` (RFC 6266): once in plain ASCII for whoever knows nothing else, once
/// exactly (RFC 8187).
pub fn attachment(name: &str) -> HeaderValue {
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let mut exact = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            exact.push(char::from(byte));
        } else {
            exact.push_str(&format!("%{byte:02X}"));
        }
    }
    let value = format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}");
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("attachment"))
}

/// Means the same to every browser and every file system.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, ' ' | '.' | '-' | '_' | '(' | ')' | '+' | '=' | '@' | ',')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_escapes_from_its_header() {
        for (name, expected) in [
            ("report.html", r#"attachment; filename="report.html"; filename*=UTF-8''report.html"#),
            (
                r#"a"b\c%41;d.txt"#,
                r#"attachment; filename="a_b_c_41_d.txt"; filename*=UTF-8''a%22b%5Cc%2541%3Bd.txt"#,
            ),
            (
                "<img onerror=x>",
                r#"attachment; filename="_img onerror=x_"; filename*=UTF-8''%3Cimg%20onerror%3Dx%3E"#,
            ),
            (
                "übersicht 日.txt",
                "attachment; filename=\"_bersicht _.txt\"; filename*=UTF-8''%C3%BCbersicht%20%E6%97%A5.txt",
            ),
        ] {
            assert_eq!(attachment(name), expected);
        }
    }
}
