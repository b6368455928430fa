//! `gantry artifacts`: what a run left behind. Names come from the run, and are believed in nothing.

use std::io::Write as _;
use std::path::Path;

use futures::TryStreamExt as _;
use gantry_api_types::run::Artifact;
use gantry_client::ApiClient;
use gantry_domain::id::RunId;

use self::download::Destination;
use crate::args::{ArtifactsArgs, Output};
use crate::failure::Failure;
use crate::run_name::id_of;
use crate::terminal::table::{Rows, plain};
use crate::terminal::{human, json, text};

mod download;

pub async fn run(client: &ApiClient, output: Output, args: &ArtifactsArgs) -> Result<(), Failure> {
    let run = args.run.find(client).await?;
    let id = id_of(&run)?;
    let mut files: Vec<Artifact> = client.all_artifacts(id).try_collect().await?;
    if !args.paths.is_empty() {
        files.retain(|file| args.paths.iter().any(|path| covers(path, &file.path)));
        if files.is_empty() {
            return Err(Failure::refused(format!("Run #{} has no such artifacts.", run.number))
                .hint(format!("`gantry artifacts {}` lists them.", run.number)));
        }
    }
    if let Some(dir) = &args.dir {
        return download_all(client, output, id, &files, dir).await;
    }
    if output == Output::Json {
        return json::print(&serde_json::json!({ "items": files }));
    }
    if files.is_empty() {
        writeln!(anstream::stderr().lock(), "Run #{} has no artifacts.", run.number)?;
        return Ok(());
    }
    let mut rows = Rows::new(&["path", "size", "type", ""]).keep_whole(&[1]);
    for file in &files {
        let note = if file.report { "report" } else { "" };
        rows.push(vec![
            plain(&file.path),
            plain(human::bytes(file.bytes)),
            plain(&file.content_type),
            plain(note),
        ]);
    }
    rows.print()
}

/// Whether `path` is the file or a directory above it.
fn covers(path: &str, file: &str) -> bool {
    let path = path.trim_end_matches('/');
    file.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

async fn download_all(
    client: &ApiClient,
    output: Output,
    run: RunId,
    files: &[Artifact],
    dir: &Path,
) -> Result<(), Failure> {
    let destination = Destination::open(dir)?;
    let mut refused = 0;
    let (mut count, mut bytes) = (0_u64, 0_u64);
    for file in files {
        let written = async {
            let mut part = destination.create(&file.path)?;
            let mut pieces = client.artifact(run, &file.path).await?;
            while let Some(piece) = pieces.try_next().await? {
                part.write(&piece)?;
            }
            part.finish()
        };
        match written.await {
            Ok(written) => (count, bytes) = (count + 1, bytes + written),
            Err(failure) => {
                refused += 1;
                writeln!(anstream::stderr().lock(), "{}:", text::line(&file.path))?;
                let _ = failure.report();
            }
        }
    }
    if output == Output::Json {
        json::print(
            &serde_json::json!({ "directory": dir, "files": count, "bytes": bytes, "refused": refused }),
        )?;
    } else {
        let mut out = anstream::stdout().lock();
        writeln!(out, "{}, {} in {}", human::count(count, "file"), human::bytes(bytes), dir.display())?;
    }
    match refused {
        0 => Ok(()),
        refused => Err(Failure::refused(format!("{refused} of {} files were not written.", files.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_covers_itself_and_what_lies_below() {
        assert!(covers("reports", "reports/a.html") && covers("reports/", "reports/a.html"));
        assert!(covers("reports/a.html", "reports/a.html"));
        assert!(!covers("report", "reports/a.html") && !covers("a.html", "reports/a.html"));
    }
}
