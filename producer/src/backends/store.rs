//! Where the truth is.

use std::path::PathBuf;

use gantry_service_kit::config::{Secret, Source};

use super::Composition;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// A file of this process alone.
    Sqlite { path: PathBuf },
    /// MongoDB, or what speaks its protocol; the URI names the database (`gantry` when it names none).
    Mongo { uri: Secret },
}

const EXPECTED: &str = "expected mongodb://…/DATABASE (or mongodb+srv://…/DATABASE)";

impl StoreConfig {
    pub(super) fn read(source: &mut Source, composition: Composition<'_>) -> Self {
        let embedded = match composition {
            Composition::OneProcess { data_dir } => data_dir.join("gantry.db"),
            // Only stands in for what was refused.
            Composition::Deployment => PathBuf::new(),
        };
        match (source.address("store"), composition) {
            (None, Composition::OneProcess { .. }) => Self::Sqlite { path: embedded },
            (None, Composition::Deployment) => {
                source.reject("store", format!("is required: {EXPECTED}"));
                Self::Sqlite { path: embedded }
            }
            (Some(uri), _) => {
                match Self::parse(&uri) {
                    Ok(Self::Sqlite { .. }) if composition == Composition::Deployment => {
                        source.reject(
                        "store",
                        format!("SQLite can't be shared by several processes; it is for `gantry up`. {EXPECTED}"),
                    );
                        Self::Sqlite { path: embedded }
                    }
                    Ok(store) => store,
                    Err(message) => {
                        source.reject("store", message);
                        Self::Sqlite { path: embedded }
                    }
                }
            }
        }
    }

    fn parse(uri: &Secret) -> Result<Self, String> {
        let text = uri.expose().trim();
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path.is_empty() {
                true => {
                    Err("sqlite: needs the path of a file, as in sqlite:/var/lib/gantry/gantry.db".to_owned())
                }
                false => Ok(Self::Sqlite { path: path.into() }),
            };
        }
        match text.starts_with("mongodb://") || text.starts_with("mongodb+srv://") {
            true => Ok(Self::Mongo { uri: Secret::new(text) }),
            false => Err(EXPECTED.to_owned()),
        }
    }
}
