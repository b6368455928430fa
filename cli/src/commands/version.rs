//! `gantry version`: this command's, and the server's if one answers.

use std::io::Write as _;
use std::time::Duration;

use crate::args::{GlobalArgs, Output};
use crate::connection::connect;
use crate::failure::Failure;
use crate::terminal::{json, text};

const OWN: &str = env!("CARGO_PKG_VERSION");
/// A server that does not answer is no reason to wait.
const WAIT: Duration = Duration::from_secs(3);

pub async fn run(global: &GlobalArgs) -> Result<(), Failure> {
    let client = connect(global).await.ok();
    let server = match &client {
        Some(client) => tokio::time::timeout(WAIT, client.version()).await.ok().and_then(Result::ok),
        None => None,
    };
    if global.output == Output::Json {
        return json::print(&serde_json::json!({ "client": OWN, "server": server }));
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "gantry {OWN}")?;
    if let (Some(client), Some(server)) = (client, server) {
        let address = client.address();
        let executor = server.executor.map(|executor| format!(" ({executor} executor)")).unwrap_or_default();
        writeln!(out, "server {} at {address}{}", text::line(&server.version), text::line(&executor))?;
    }
    Ok(())
}
