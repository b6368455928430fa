//! `gantry whoami`: who one is to the server.

use std::io::Write as _;

use gantry_api_types::identity::Me;
use gantry_client::ApiClient;

use crate::args::Output;
use crate::failure::Failure;
use crate::terminal::{json, text};

pub async fn run(client: &ApiClient, output: Output) -> Result<(), Failure> {
    let me = client.me().await?;
    if output == Output::Json {
        return json::print(&me);
    }
    let mut out = anstream::stdout().lock();
    for (name, value) in lines(&client.address(), &me) {
        writeln!(out, "{name:<13} {value}")?;
    }
    Ok(())
}

fn lines(address: &str, me: &Me) -> Vec<(&'static str, String)> {
    let named = |name: &str| if name.is_empty() { String::new() } else { format!("{} ", text::line(name)) };
    let mut lines = vec![
        ("server", address.to_owned()),
        ("user", format!("{}<{}>", named(&me.user.name), text::line(&me.user.email))),
    ];
    if let Some(here) = &me.organization {
        lines.push(("organization", format!("{} ({}), as {}", text::line(&here.name), here.id, here.role)));
    }
    for other in me.organizations.iter().filter(|other| Some(*other) != me.organization.as_ref()) {
        lines.push(("also in", format!("{} ({}), as {}", text::line(&other.name), other.id, other.role)));
    }
    if let Some(key) = &me.key {
        let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        lines.push((
            "API key",
            format!("{} ({}…), for {}", text::line(&key.name), key.prefix, scopes.join(", ")),
        ));
    }
    lines.push(("may", me.permissions.join(", ")));
    lines
}
