//! The environment a command gets, from weak to strong: what Gantry tells it, the variables of the project and of the run
//! (which the run's specification holds together), its secrets; and Gantry's own names, which nothing overrides.

use std::collections::BTreeMap;

use gantry_credentials::secret::SecretText;
use gantry_domain::run::Run;

/// The variables, secrets among them.
pub fn resolve(run: &Run, attempt: u32, secrets: &BTreeMap<String, SecretText>) -> BTreeMap<String, String> {
    let spec = &run.spec;
    let mut variables = BTreeMap::from([
        ("CI".to_owned(), "true".to_owned()),
        ("TASK_ID".to_owned(), run.id.to_string()),
        ("SHARD_INDEX".to_owned(), "0".to_owned()),
        ("SHARD_TOTAL".to_owned(), "1".to_owned()),
    ]);
    if let Some(url) = &spec.base_url {
        variables.insert("BASE_URL".to_owned(), url.clone());
    }
    variables.extend(spec.variables.clone());
    variables.extend(secrets.iter().map(|(name, secret)| (name.clone(), secret.expose().to_owned())));
    variables.insert("GANTRY_RUN_ID".to_owned(), run.id.to_string());
    variables.insert("GANTRY_ATTEMPT".to_owned(), attempt.to_string());
    if let Some(project) = &spec.project {
        variables.insert("GANTRY_PROJECT".to_owned(), project.clone());
    }
    if let Some(environment) = &spec.environment {
        variables.insert("GANTRY_ENVIRONMENT".to_owned(), environment.clone());
    }
    variables
}
