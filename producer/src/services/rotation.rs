//! Rotating the keys that secrets are sealed with: everything under an older key is sealed anew under the present one, project
//! by project, by compare-and-set. Producers and runs go on meanwhile; doing it again changes nothing.

use std::collections::BTreeMap;
use std::fmt;

use gantry_credentials::seal::{Place, Sealer};
use gantry_domain::id::ProjectId;
use gantry_domain::project::{Project, Sealed};
use gantry_domain::time::Timestamp;
use gantry_store::{Changed, ProjectStore, StoreError};

const PAGE: u32 = 50;

/// What a rotation did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Sealed anew.
    pub resealed: u64,
    /// Were under the present key.
    pub untouched: u64,
    /// Could not be opened, and why; by project.
    pub unreadable: BTreeMap<ProjectId, Vec<String>>,
}

impl Rotation {
    /// Nothing is left under another key.
    pub fn is_complete(&self) -> bool {
        self.unreadable.is_empty()
    }
}

impl fmt::Display for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resealed, untouched, unreadable } = self;
        writeln!(f, "Encrypted anew: {resealed}. Under the present key already: {untouched}.")?;
        if unreadable.is_empty() {
            return write!(
                f,
                "Nothing is encrypted under an older key: it can be taken out of `sealing_keys` once every producer \
                 runs with the present key in front."
            );
        }
        for (project, why) in unreadable {
            for why in why {
                writeln!(f, "{project}: {why}")?;
            }
        }
        write!(
            f,
            "Keep the older keys: these could not be opened. Set them anew, or bring the missing key back; a project that cannot \
             be read needs the version that wrote it."
        )
    }
}

/// Seals everything under the sealer's present key.
pub async fn rotate(
    projects: &dyn ProjectStore,
    sealer: &Sealer,
    now: impl Fn() -> Timestamp,
) -> Result<Rotation, StoreError> {
    let (mut rotation, mut after) = (Rotation::default(), None);
    loop {
        let page = projects.with_secrets(after, PAGE).await?;
        for project in page.items {
            match project {
                Ok(project) => rotate_one(projects, sealer, &now, project, &mut rotation).await?,
                Err(id) => {
                    let why = "cannot be read by this version; its log says why".to_owned();
                    rotation.unreadable.insert(id, vec![why]);
                }
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(rotation);
        }
    }
}

async fn rotate_one(
    projects: &dyn ProjectStore,
    sealer: &Sealer,
    now: impl Fn() -> Timestamp,
    mut project: Project,
    rotation: &mut Rotation,
) -> Result<(), StoreError> {
    loop {
        let anew = Anew::of(&project, sealer);
        let changed = match anew.resealed {
            0 => Changed::Updated,
            // Nobody changed what it says, so when and by whom it was set stays.
            _ => {
                projects
                    .update(&Project {
                        updated_at: project.updated_at,
                        ..project.next(now(), |next| anew.put_on(next))
                    })
                    .await?
            }
        };
        match changed {
            Changed::Updated => {
                rotation.resealed += anew.resealed;
                rotation.untouched += anew.untouched;
                if !anew.unreadable.is_empty() {
                    rotation.unreadable.insert(project.id, anew.unreadable);
                }
                return Ok(());
            }
            Changed::Conflict(current) => project = current,
            Changed::NotFound | Changed::Taken => return Ok(()),
        }
    }
}

/// One project's secrets under the present key.
#[derive(Default)]
struct Anew {
    secrets: BTreeMap<String, String>,
    passwords: BTreeMap<String, String>,
    resealed: u64,
    untouched: u64,
    unreadable: Vec<String>,
}

impl Anew {
    fn of(project: &Project, sealer: &Sealer) -> Self {
        let mut anew = Self::default();
        for (name, sealed) in &project.secrets {
            let what = format!("the secret {name}");
            if let Some(text) = anew.seal(project, sealer, &what, &project.secret_place(name), sealed) {
                anew.secrets.insert(name.clone(), text);
            }
        }
        for (name, credential) in &project.registries {
            let what = format!("the password for {name}");
            let (place, sealed) = (project.registry_place(name), &credential.password);
            if let Some(text) = anew.seal(project, sealer, &what, &place, sealed) {
                anew.passwords.insert(name.clone(), text);
            }
        }
        anew
    }

    fn seal(
        &mut self,
        project: &Project,
        sealer: &Sealer,
        what: &str,
        place: &str,
        sealed: &Sealed,
    ) -> Option<String> {
        if !sealer.needs_reseal(&sealed.sealed) {
            self.untouched += 1;
            return None;
        }
        let place = Place { organization: project.organization, name: place };
        let opened = sealer.open(place, &sealed.sealed).map_err(|error| error.to_string());
        match opened.and_then(|secret| sealer.seal(place, &secret).map_err(|error| error.to_string())) {
            Ok(text) => {
                self.resealed += 1;
                Some(text)
            }
            Err(why) => {
                self.unreadable.push(format!("{what}: {why}"));
                None
            }
        }
    }

    fn put_on(&self, project: &mut Project) {
        for (name, text) in &self.secrets {
            if let Some(sealed) = project.secrets.get_mut(name) {
                sealed.sealed.clone_from(text);
            }
        }
        for (name, text) in &self.passwords {
            if let Some(credential) = project.registries.get_mut(name) {
                credential.password.sealed.clone_from(text);
            }
        }
    }
}
