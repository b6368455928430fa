//! `gantry whoami`: who one is to the server.

use gantry_api_types::identity::Me;
use gantry_client::ApiClient;

use crate::args::Output;
use crate::failure::Failure;
use crate::terminal::{facts, json};

pub async fn run(client: &ApiClient, output: Output) -> Result<(), Failure> {
    let me = client.me().await?;
    if output == Output::Json {
        return json::print(&me);
    }
    facts::print(lines(&client.address(), &me))
}

fn lines(address: &str, me: &Me) -> Vec<(&'static str, String)> {
    let user = match me.user.name.as_str() {
        "" => me.user.email.clone(),
        name => format!("{name} <{}>", me.user.email),
    };
    let mut lines = vec![("server", address.to_owned()), ("user", user)];
    if let Some(here) = &me.organization {
        lines.push(("organization", format!("{} ({}), as {}", here.name, here.id, here.role)));
    }
    for other in me.organizations.iter().filter(|other| Some(*other) != me.organization.as_ref()) {
        lines.push(("also in", format!("{} ({}), as {}", other.name, other.id, other.role)));
    }
    if let Some(key) = &me.key {
        let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        lines.push(("API key", format!("{} ({}…), for {}", key.name, key.prefix, scopes.join(", "))));
    }
    lines.push(("may", me.permissions.join(", ")));
    lines
}
