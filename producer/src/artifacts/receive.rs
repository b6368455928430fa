//! Taking in an upload from its first byte to the note on the attempt.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use bytes::Bytes;
use gantry_api_types::worker::ArtifactsAnswer;
use gantry_blobs::{BlobKey, BlobKind};
use gantry_domain::attempt::{ArtifactSummary, Attempt, Warning};
use gantry_domain::results::{TestResult, TestSummary};
use gantry_domain::run::{LeaseToken, Run};
use gantry_reports::ArtifactPath;
use gantry_store::{Durability, LogKey};
use tokio::runtime::Handle;

use super::index::ArtifactIndex;
use super::packer::{Packed, Report};
use super::results::{self, REPORT_UNREADABLE, RESULTS_CUT, Results};
use super::upload::{self, Upload};
use super::{ArtifactService, key};
use crate::error::{ApiError, ApiResult};
use crate::services::allowances;
use crate::services::finish::{leased, refused};
use crate::services::masking::Mask;
use crate::services::secrets;
use crate::services::transition::change_from;
use crate::state::App;

const ARTIFACTS_REFUSED: &str = "artifacts_refused";
/// Warnings that an upload gives; a repeated one replaces them.
const OWN_WARNINGS: [&str; 3] = [ARTIFACTS_REFUSED, REPORT_UNREADABLE, RESULTS_CUT];

/// What an upload leaves on its attempt.
#[derive(Debug, Default, PartialEq)]
struct Note {
    artifacts: ArtifactSummary,
    tests: TestSummary,
    warnings: Vec<Warning>,
}

impl Note {
    fn refused(why: &str) -> Self {
        let message = format!("No artifacts were kept: {why}.");
        Self { warnings: vec![Warning::new(ARTIFACTS_REFUSED, message)], ..Self::default() }
    }

    fn is_on(&self, attempt: &Attempt) -> bool {
        let (artifacts, tests) = (attempt.artifacts, attempt.tests);
        artifacts == self.artifacts && tests == self.tests && own(attempt).eq(self.warnings.iter())
    }

    fn put_on(&self, attempt: &mut Attempt) {
        attempt.artifacts = self.artifacts;
        attempt.tests = self.tests;
        attempt.warnings.retain(|warning| !is_own(warning));
        attempt.warnings.extend(self.warnings.iter().cloned());
    }

    fn answer(self) -> ArtifactsAnswer {
        ArtifactsAnswer {
            count: self.artifacts.count,
            bytes: self.artifacts.bytes,
            tests: self.tests.total,
            problems: self.warnings.into_iter().map(|warning| warning.message).collect(),
        }
    }
}

fn is_own(warning: &Warning) -> bool {
    OWN_WARNINGS.contains(&warning.code.as_str())
}

fn own(attempt: &Attempt) -> impl Iterator<Item = &Warning> {
    attempt.warnings.iter().filter(|warning| is_own(warning))
}

impl ArtifactService {
    /// Takes in the tar in `body` as what the present attempt of `run` left. The same again replaces it.
    ///
    /// An archive that may not be kept, or a report that can't be read, is no error: the attempt says so, and so does the
    /// answer. An error means that nothing changed and that the worker may try again.
    pub async fn receive(
        &self,
        app: &App,
        run: Run,
        token: &LeaseToken,
        body: Body,
    ) -> ApiResult<ArtifactsAnswer> {
        let Ok(_permit) = self.uploads.acquire().await else {
            return Err(ApiError::internal("uploads are closed"));
        };
        let packed_key = key(&run, run.attempt(), BlobKind::Artifacts);
        let limits = allowances::of(app, run.organization).await.artifacts;
        let upload = upload::take(body, self.blobs.clone(), packed_key.clone(), limits).await?;
        // An upload takes its time. A late one must not touch what a later look relies on.
        let attempt = run.attempt();
        let run = leased(app, run.id, token).await?;
        if run.attempt() != attempt {
            return Err(ApiError::stale());
        }
        let mask = secrets::mask(app, &run).await?;
        let mut note = match upload {
            Upload::Refused(why) => {
                let why = mask.text(&why);
                tracing::info!(run.id = %run.id, org.id = %run.organization, attempt, %why, "artifacts refused");
                self.put_results(&run, &[]).await?;
                Note::refused(&why)
            }
            Upload::Taken(packed) => self.keep(&run, &packed_key, packed, &mask).await?,
        };
        note.warnings.iter_mut().for_each(|warning| mask.put_on(&mut warning.message));
        Box::pin(change_from(app, run, Durability::Relaxed, |run| {
            run.check_lease(token)?;
            match run.last_attempt() {
                Some(attempt) if note.is_on(attempt) => Ok(None),
                _ => run.record(token, |attempt| note.put_on(attempt)).map(Some),
            }
        }))
        .await
        .map_err(refused)?;
        Ok(note.answer())
    }

    /// Makes an accepted upload durable: the files, what their reports say, and last the index that names them.
    async fn keep(
        &self,
        run: &Run,
        packed_key: &BlobKey,
        mut packed: Packed,
        mask: &Mask,
    ) -> ApiResult<Note> {
        let Some(writer) = packed.writer.take() else {
            self.put_results(run, &[]).await?;
            return Ok(Note::default());
        };
        writer.finish().await?;
        if !mask.is_empty() {
            mask_names(&mut packed, mask);
        }
        let Results { mut kept, summary, warnings } = self.read_reports(packed_key, packed.reports).await?;
        if !mask.is_empty() {
            kept.iter_mut().for_each(|result| mask_result(result, mask));
        }
        self.put_results(run, &kept).await?;
        let index = ArtifactIndex::new(packed.entries);
        let count = u32::try_from(index.entries().len()).unwrap_or(u32::MAX);
        let artifacts = ArtifactSummary { count, bytes: index.bytes() };
        let encoded = tokio::task::spawn_blocking(move || index.encode()).await;
        let failed = |error: &dyn std::fmt::Display| ApiError::internal(format!("artifact index: {error}"));
        let encoded = encoded.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        let mut writer = self.blobs.write(&key(run, run.attempt(), BlobKind::ArtifactIndex)).await?;
        writer.write(Bytes::from(encoded)).await?;
        writer.finish().await?;
        Ok(Note { artifacts, tests: summary, warnings })
    }

    async fn read_reports(&self, packed_key: &BlobKey, reports: Vec<Report>) -> ApiResult<Results> {
        if reports.is_empty() {
            return Ok(Results::default());
        }
        let Ok(_permit) = self.readings.acquire().await else {
            return Err(ApiError::internal("readings are closed"));
        };
        let (runtime, blobs, packed_key) = (Handle::current(), self.blobs.clone(), packed_key.clone());
        let read =
            tokio::task::spawn_blocking(move || results::read(&runtime, &blobs, &packed_key, reports)).await;
        Ok(read.map_err(|error| ApiError::internal(format!("reading test reports ended early: {error}")))??)
    }

    /// Stores results, or removes those of an earlier upload.
    async fn put_results(&self, run: &Run, results: &[TestResult]) -> ApiResult<()> {
        let had_some = run.last_attempt().is_some_and(|attempt| attempt.tests.total > 0);
        if results.is_empty() && !had_some {
            return Ok(());
        }
        let key = LogKey { organization: run.organization, run: run.id, attempt: run.attempt() };
        Ok(self.tests.put(key, results).await?)
    }
}

/// Names are shown to whoever may see the run, and stored in the clear. Two files whose names differ in a secret only stay two.
fn mask_names(packed: &mut Packed, mask: &Mask) {
    let mut taken: BTreeSet<ArtifactPath> = packed.entries.iter().map(|entry| entry.path.clone()).collect();
    let mut renamed = BTreeMap::new();
    for entry in &mut packed.entries {
        let Cow::Owned(masked) = mask.text(entry.path.as_str()) else { continue };
        let names = std::iter::once(masked.clone()).chain((2..).map(|number| format!("{masked}~{number}")));
        // Masking only ever shortens a component, or ends in a name of a few bytes.
        let free =
            names.filter_map(|name| ArtifactPath::parse(&name).ok()).find(|name| !taken.contains(name));
        if let Some(free) = free {
            taken.insert(free.clone());
            renamed.insert(entry.offset, free.clone());
            entry.path = free;
        }
    }
    for report in &mut packed.reports {
        if let Some(path) = renamed.get(&report.entry.offset) {
            report.entry.path = path.clone();
        }
    }
}

fn mask_result(result: &mut TestResult, mask: &Mask) {
    let TestResult { file, suite, name, message, .. } = result;
    [suite, name].into_iter().chain(file).chain(message).for_each(|text| mask.put_on(text));
}
