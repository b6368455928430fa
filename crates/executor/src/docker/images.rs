//! The images on the engine: which may go when space runs out, and how much space there is.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::query_parameters::{ListImagesOptionsBuilder, RemoveImageOptionsBuilder};
use gantry_domain::image::ImageReference;
use tokio::time::Instant;

use super::DockerExecutor;
use super::engine::EngineFailure;
use crate::{ExecutorError, RegistryLogin};

/// Space where the engine keeps images and containers, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    pub free: u64,
    pub total: u64,
}

/// Repositories that this process pulled from with a login, and the logins that may: an engine gives what it has to anybody,
/// a registry does not.
#[derive(Default)]
pub(super) struct Guarded(Mutex<HashMap<String, HashSet<RegistryLogin>>>);

impl Guarded {
    /// Whether who signs in like this may use what the engine has of this image, without asking the registry.
    pub fn is_open(&self, image: &str, login: Option<&RegistryLogin>) -> bool {
        let guarded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match guarded.get(&repository(image)) {
            None => true,
            Some(logins) => login.is_some_and(|login| logins.contains(login)),
        }
    }

    /// Somebody is about to get the image by a login: from here on nobody else has it without asking the registry.
    pub fn close(&self, image: &str) {
        let mut guarded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        guarded.entry(repository(image)).or_default();
    }

    /// The registry gave the image to who signed in like this. What it gives to anybody stays open.
    pub fn given(&self, image: &str, login: Option<&RegistryLogin>) {
        let mut guarded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match login {
            Some(login) => drop(guarded.entry(repository(image)).or_default().insert(login.clone())),
            None => drop(guarded.remove(&repository(image))),
        }
    }
}

/// Without tag and digest, as registries let people in by repository.
fn repository(image: &str) -> String {
    match image.parse::<ImageReference>() {
        Ok(image) => format!("{}/{}", image.registry, image.repository),
        Err(_) => image.to_owned(),
    }
}

/// When this process last used which image. An engine remembers only when an image was built.
#[derive(Default)]
pub(super) struct Images(Mutex<HashMap<String, Use>>);

#[derive(Clone, Copy)]
struct Use {
    last: Instant,
    pulled_by_us: bool,
}

impl Images {
    pub fn used(&self, image: &str) {
        self.note(image, false);
    }

    pub fn pulled(&self, image: &str) {
        self.note(image, true);
    }

    fn note(&self, image: &str, pulled: bool) {
        let mut images = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let entry = images.entry(image.to_owned()).or_insert(Use { last: now, pulled_by_us: false });
        entry.last = now;
        entry.pulled_by_us |= pulled;
    }

    fn snapshot(&self) -> HashMap<String, Use> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn forget(&self, image: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(image);
    }
}

impl DockerExecutor {
    /// Space on the engine's disk; `None` when the engine is on another host.
    pub fn disk_space(&self) -> Option<DiskSpace> {
        let root = self.engine.root_dir.as_ref().filter(|_| self.engine.host.starts_with("unix://"))?;
        let stat = rustix::fs::statvfs(root).ok()?;
        Some(DiskSpace {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }

    /// Removes images that no attempt has used for `unused_for`, longest unused first, but keeps the `keep` most recently
    /// used ones: those this process pulled, or, on a dedicated engine, all of them. Returns what it removed.
    /// Images in use by any container stay: the engine refuses to remove them.
    pub async fn prune_images(
        &self,
        unused_for: Duration,
        keep: usize,
    ) -> Result<Vec<String>, ExecutorError> {
        let uses = self.images.snapshot();
        let mut candidates: Vec<(Option<Instant>, String)> = if self.options.dedicated_engine {
            self.tagged_images().await?.into_iter().map(|tag| (uses.get(&tag).map(|u| u.last), tag)).collect()
        } else {
            uses.iter().filter(|(_, u)| u.pulled_by_us).map(|(tag, u)| (Some(u.last), tag.clone())).collect()
        };
        candidates.sort();
        candidates.truncate(candidates.len().saturating_sub(keep));
        let mut removed = Vec::new();
        for (last, image) in candidates {
            if last.is_some_and(|last| last.elapsed() < unused_for) {
                continue;
            }
            let options = RemoveImageOptionsBuilder::default().force(false).build();
            let call = Box::pin(self.engine.docker.remove_image(&image, Some(options), None));
            match self.engine.create("remove an image", call).await {
                Ok(_) => {
                    self.images.forget(&image);
                    removed.push(image);
                }
                Err(failure) if failure.is(404) => self.images.forget(&image),
                Err(failure) if failure.is(409) => {}
                Err(failure) => return Err(failure.infrastructure()),
            }
        }
        Ok(removed)
    }

    async fn tagged_images(&self) -> Result<Vec<String>, ExecutorError> {
        let options = ListImagesOptionsBuilder::default().build();
        let call = Box::pin(self.engine.docker.list_images(Some(options)));
        let images = self.engine.lookup("list images", call).await.map_err(EngineFailure::infrastructure)?;
        Ok(images
            .into_iter()
            .flat_map(|image| image.repo_tags)
            .filter(|tag| tag != "<none>:<none>")
            .collect())
    }
}
