//! Files out of a stopped container, as one tar, without running anything in it.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, DownloadFromContainerOptionsBuilder, InspectContainerOptions,
};
use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::engine::{Engine, EngineFailure, bounded};
use super::failures::path_is_missing;
use super::{DockerExecutor, labels};
use crate::pattern::Pattern;
use crate::tar_filter::{EntryKind, TarFilter, end_of_archive};
use crate::{AttemptKey, ExecutorError, TarStream};

/// Files one collection holds at most. Receivers allow fewer; this only bounds the memory for telling duplicates apart.
const MAX_FILES: usize = 200_000;
/// Paths the engine is asked about at the same time.
const QUESTIONS: usize = 4;

/// Everything to be taken from below one directory, in one download.
struct Download {
    /// Without the leading `/`; empty for the root.
    base: PathBuf,
    wanted: Vec<Pattern>,
}

impl DockerExecutor {
    pub(super) async fn collect_files(
        &self,
        key: AttemptKey,
        paths: &[String],
    ) -> Result<TarStream, ExecutorError> {
        self.attempts.started(key, "collect")?;
        let container = labels::container_name(key);
        let working_dir = self.working_dir(key, &container).await?;
        let downloads = existing(&self.engine, &container, downloads(&working_dir, paths)).await?;
        let collection =
            Collection { engine: self.engine.clone(), container, working_dir, key, chosen: Arc::default() };
        Ok(collection.stream(downloads))
    }

    /// Where relative paths begin; refuses while the command still runs.
    async fn working_dir(&self, key: AttemptKey, container: &str) -> Result<PathBuf, ExecutorError> {
        let dir = match self.attempts.started(key, "collect")?.ended {
            Some(ended) => ended.working_dir,
            None => {
                let call = Box::pin(
                    self.engine.docker.inspect_container(container, None::<InspectContainerOptions>),
                );
                let found = self
                    .engine
                    .lookup("inspect the container", call)
                    .await
                    .map_err(EngineFailure::infrastructure)?;
                if found.state.and_then(|state| state.running).unwrap_or(false) {
                    return Err(ExecutorError::CallOrder("collect was called before the end".to_owned()));
                }
                found.config.and_then(|config| config.working_dir).unwrap_or_default()
            }
        };
        Ok(below_root(Path::new(&dir)))
    }
}

/// The path without its root and without `.` and `..`.
fn below_root(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

/// One download per place where patterns begin.
fn downloads(working_dir: &Path, paths: &[String]) -> Vec<Download> {
    let mut by_base: BTreeMap<PathBuf, Vec<Pattern>> = BTreeMap::new();
    for pattern in paths.iter().filter_map(|text| Pattern::parse(text)) {
        let base = if pattern.absolute { pattern.base.clone() } else { working_dir.join(&pattern.base) };
        by_base.entry(base).or_default().push(pattern);
    }
    by_base.into_iter().map(|(base, wanted)| Download { base, wanted }).collect()
}

/// Those whose base exists. A question costs the engine a thirtieth of an empty download.
async fn existing(
    engine: &Engine,
    container: &str,
    downloads: Vec<Download>,
) -> Result<Vec<Download>, ExecutorError> {
    let asked = downloads.len();
    let found: Vec<Download> = stream::iter(downloads)
        .map(|download| async move {
            let path = absolute(&download.base);
            let options = ContainerArchiveInfoOptionsBuilder::default().path(&path).build();
            let call = Box::pin(engine.docker.get_container_archive_info(container, Some(options)));
            // Anything but a plain "no" is left to the download, whose answer says why.
            match engine.lookup("look for a path", call).await {
                Err(failure) if failure.is(404) => None,
                _ => Some(download),
            }
        })
        .buffered(QUESTIONS)
        .filter_map(std::future::ready)
        .collect()
        .await;
    if found.is_empty() && asked > 0 {
        // "No such path" and "no such container" are the same status.
        let call = Box::pin(engine.docker.inspect_container(container, None));
        engine.lookup("inspect the container", call).await.map_err(EngineFailure::infrastructure)?;
    }
    Ok(found)
}

fn absolute(path: &Path) -> String {
    format!("/{}", path.to_string_lossy())
}

/// One pass over the downloads.
struct Collection {
    engine: Engine,
    container: String,
    /// Without the leading `/`.
    working_dir: PathBuf,
    key: AttemptKey,
    chosen: Arc<Mutex<Chosen>>,
}

/// What has been decided about entries so far.
#[derive(Default)]
struct Chosen {
    /// Hashes of paths: enough to tell files apart, without their names.
    files: HashSet<u64>,
    special: u64,
    too_many: bool,
}

impl Collection {
    fn stream(self, downloads: Vec<Download>) -> TarStream {
        async_stream::try_stream! {
            for download in downloads {
                // One after the other: the engine locks the container for as long as a download lasts.
                let mut filter = TarFilter::new(self.chooser(&download));
                let options =
                    DownloadFromContainerOptionsBuilder::default().path(&absolute(&download.base)).build();
                let mut pieces =
                    Box::pin(self.engine.docker.download_from_container(&self.container, Some(options)));
                let mut out: Vec<Bytes> = Vec::new();
                let mut began = false;
                while let Some(piece) = self.next(&mut pieces).await {
                    let piece = match piece {
                        Ok(piece) => piece,
                        Err(failure) if !began && path_is_missing(&failure) => break,
                        Err(failure) => Err(failure.infrastructure())?,
                    };
                    began = true;
                    filter.push(piece, &mut out).map_err(|e| broken(&e))?;
                    self.check_count()?;
                    for bytes in out.drain(..) {
                        yield bytes;
                    }
                }
                filter.finish().map_err(|e| broken(&e))?;
            }
            self.report();
            yield end_of_archive();
        }
        .boxed()
    }

    /// The next piece; the clock runs only while we ask, so that a slow receiver is not mistaken for a silent engine.
    async fn next<S>(&self, pieces: &mut S) -> Option<Result<Bytes, EngineFailure>>
    where
        S: stream::Stream<Item = Result<Bytes, bollard::errors::Error>> + Unpin,
    {
        let next = async { pieces.next().await.transpose() };
        bounded("send files of the container", self.engine.limits.collect_silence, next).await.transpose()
    }

    fn chooser(&self, download: &Download) -> impl FnMut(&Path, EntryKind) -> Option<PathBuf> + use<> {
        let base = download.base.clone();
        let wanted = download.wanted.clone();
        let working_dir = self.working_dir.clone();
        let chosen = Arc::clone(&self.chosen);
        move |entry, kind| {
            let path = path_in_container(&base, entry);
            let name = wanted.iter().find_map(|pattern| {
                let name = if pattern.absolute { &path } else { path.strip_prefix(&working_dir).ok()? };
                pattern.matches(name).then(|| name.to_owned())
            })?;
            let mut chosen = chosen.lock().unwrap_or_else(PoisonError::into_inner);
            if kind == EntryKind::Special {
                chosen.special += 1;
                return None;
            }
            if chosen.files.len() >= MAX_FILES {
                chosen.too_many = true;
                return None;
            }
            let mut hasher = DefaultHasher::new();
            path.hash(&mut hasher);
            chosen.files.insert(hasher.finish()).then_some(name)
        }
    }

    fn check_count(&self) -> Result<(), ExecutorError> {
        if self.chosen.lock().unwrap_or_else(PoisonError::into_inner).too_many {
            return Err(ExecutorError::Unsupported(format!(
                "the artifact paths match more than {MAX_FILES} files: name fewer"
            )));
        }
        Ok(())
    }

    fn report(&self) {
        let chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        if chosen.special > 0 {
            tracing::info!(
                run.id = %self.key.run,
                skipped = chosen.special,
                "links and special files among the artifacts were left out"
            );
        }
    }
}

/// An entry's place in the container. The engine names entries after the last component of the path that was asked for.
fn path_in_container(base: &Path, entry: &Path) -> PathBuf {
    let mut parts = entry.components().filter(|part| matches!(part, Component::Normal(_)));
    if base.file_name().is_some() {
        parts.next();
    }
    base.iter().chain(parts.map(|part| part.as_os_str())).collect()
}

fn broken(error: &crate::tar_filter::TarError) -> ExecutorError {
    ExecutorError::Infrastructure(format!("the Docker engine sent a broken archive: {error}"))
}
