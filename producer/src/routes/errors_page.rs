//! Where the `type` of a problem leads: every code with its meaning.

use axum::response::Html;
use gantry_api_types::problem::ProblemCode;

pub async fn show() -> Html<String> {
    let rows: String = ProblemCode::ALL
        .iter()
        .map(|code| {
            let name = code.as_str();
            format!(
                "<tr id=\"{name}\"><td><code>{name}</code></td><td>{}</td><td>{}</td></tr>",
                code.status(),
                code.title()
            )
        })
        .collect();
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Gantry: errors</title><style>body{{font:16px/1.5 system-ui;margin:2rem auto;max-width:50rem;padding:0 1rem}}\
         td,th{{text-align:left;padding:.3rem .8rem .3rem 0}}tr:target{{background:#ffc}}</style>\
         <h1>Errors of the Gantry API</h1><table><tr><th>code<th>status<th>meaning</tr>{rows}</table>"
    ))
}
