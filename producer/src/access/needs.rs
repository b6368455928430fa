//! What each route needs: one line per operation of the public API. A route without a line serves nobody.

use axum::http::Method;
use gantry_domain::permission::Permission;

/// What a caller must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Not even a credential: whoever comes is served, or says in the body who he is.
    Nothing,
    /// Any good credential.
    Credential,
    Permission(Permission),
}

macro_rules! table {
    ($($method:ident $path:literal => $needs:ident $(($permission:ident))?;)*) => {
        /// Every operation with its needs.
        pub const TABLE: &[(Method, &str, Needs)] = &[$(
            (Method::$method, $path, Needs::$needs $((Permission::$permission))?),
        )*];
    };
}

table! {
    GET "/health" => Nothing;
    GET "/health/live" => Nothing;
    GET "/health/ready" => Nothing;
    GET "/metrics" => Nothing;
    GET "/api/v1/system/version" => Nothing;

    POST "/api/v1/runs" => Permission(RunsCreate);
    GET "/api/v1/runs" => Permission(RunsRead);
    // Deleting and regrouping are looked at one by one.
    POST "/api/v1/runs/bulk" => Permission(RunsCancel);
    GET "/api/v1/runs/groups" => Permission(RunsRead);
    GET "/api/v1/runs/{id}" => Permission(RunsRead);
    DELETE "/api/v1/runs/{id}" => Permission(RunsDelete);
    POST "/api/v1/runs/{id}/cancel" => Permission(RunsCancel);
    POST "/api/v1/runs/{id}/rerun" => Permission(RunsRerun);
    GET "/api/v1/runs/{id}/attempts" => Permission(RunsRead);
    GET "/api/v1/runs/{id}/logs" => Permission(LogsRead);
    GET "/api/v1/runs/{id}/events" => Permission(RunsRead);
    GET "/api/v1/runs/{id}/tests" => Permission(RunsRead);
    GET "/api/v1/runs/{id}/artifacts" => Permission(ArtifactsRead);
    GET "/api/v1/runs/{id}/artifacts/{path}" => Permission(ArtifactsRead);
    GET "/api/v1/events" => Permission(RunsRead);

    POST "/api/v1/auth/signup" => Nothing;
    POST "/api/v1/auth/signup/confirm" => Nothing;
    POST "/api/v1/auth/login" => Nothing;
    POST "/api/v1/auth/refresh" => Nothing;
    POST "/api/v1/auth/logout" => Nothing;
    POST "/api/v1/auth/switch" => Permission(Account);
    POST "/api/v1/auth/password/forgot" => Nothing;
    POST "/api/v1/auth/password/reset" => Nothing;
    GET "/api/v1/me" => Credential;
    PATCH "/api/v1/me" => Permission(Account);
    POST "/api/v1/me/password" => Permission(Account);
    GET "/api/v1/me/sessions" => Permission(Account);
    DELETE "/api/v1/me/sessions" => Permission(Account);
    DELETE "/api/v1/me/sessions/{id}" => Permission(Account);
    DELETE "/api/v1/me/organizations/{id}" => Permission(Account);

    GET "/api/v1/organization" => Permission(OrganizationRead);
    PATCH "/api/v1/organization" => Permission(OrganizationWrite);
    POST "/api/v1/organizations" => Permission(Account);
    GET "/api/v1/organization/members" => Permission(MembersRead);
    PATCH "/api/v1/organization/members/{id}" => Permission(MembersManage);
    DELETE "/api/v1/organization/members/{id}" => Permission(MembersManage);
    POST "/api/v1/organization/invitations" => Permission(InvitationsManage);
    GET "/api/v1/organization/invitations" => Permission(InvitationsManage);
    POST "/api/v1/organization/invitations/{id}/resend" => Permission(InvitationsManage);
    DELETE "/api/v1/organization/invitations/{id}" => Permission(InvitationsManage);
    POST "/api/v1/invitations/look-up" => Nothing;
    POST "/api/v1/invitations/accept" => Nothing;
    GET "/api/v1/audit" => Permission(AuditRead);
    GET "/api/v1/audit/export" => Permission(AuditRead);

    POST "/api/v1/keys" => Permission(KeysOwn);
    GET "/api/v1/keys" => Permission(KeysOwn);
    POST "/api/v1/keys/{id}/rotate" => Permission(KeysOwn);
    DELETE "/api/v1/keys/{id}" => Permission(KeysOwn);
    POST "/api/v1/projects" => Permission(ProjectsWrite);
    GET "/api/v1/projects" => Permission(ProjectsRead);
    GET "/api/v1/projects/{project}" => Permission(ProjectsRead);
    PATCH "/api/v1/projects/{project}" => Permission(ProjectsWrite);
    DELETE "/api/v1/projects/{project}" => Permission(ProjectsWrite);
    PUT "/api/v1/projects/{project}/variables/{name}" => Permission(VariablesWrite);
    DELETE "/api/v1/projects/{project}/variables/{name}" => Permission(VariablesWrite);
    GET "/api/v1/projects/{project}/secrets" => Permission(ProjectsRead);
    PUT "/api/v1/projects/{project}/secrets/{name}" => Permission(SecretsWrite);
    DELETE "/api/v1/projects/{project}/secrets/{name}" => Permission(SecretsWrite);
    GET "/api/v1/projects/{project}/registries" => Permission(ProjectsRead);
    PUT "/api/v1/projects/{project}/registries/{registry}" => Permission(SecretsWrite);
    DELETE "/api/v1/projects/{project}/registries/{registry}" => Permission(SecretsWrite);

    GET "/api/v1/workers" => Permission(WorkersRead);
    POST "/api/v1/workers/{id}/drain" => Permission(WorkersDrain);
    POST "/api/v1/workers/{id}/undrain" => Permission(WorkersDrain);
    GET "/api/v1/system/queue" => Permission(SystemRead);
    GET "/api/v1/system/reconcilers" => Permission(SystemRead);
    GET "/api/v1/system/set-aside" => Permission(RunsRead);
}

/// The needs of the operation that serves this method of a matched route.
pub fn needs(method: &Method, route: &str) -> Option<Needs> {
    // The router's `{*path}` is written `{path}` in the API's description.
    let route = route.replace("{*", "{");
    let method = if method == Method::HEAD { &Method::GET } else { method };
    TABLE.iter().find(|(of, path, _)| of == method && *path == route).map(|(.., needs)| *needs)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// So that nobody can add a route and forget who may call it.
    #[test]
    fn the_table_names_every_operation_once_and_no_other() {
        let document = serde_json::to_value(crate::openapi()).unwrap();
        let mut documented = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            documented.extend(
                operations.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())),
            );
        }
        let listed: Vec<_> =
            TABLE.iter().map(|(method, path, _)| (method.to_string(), (*path).to_owned())).collect();
        let known: BTreeSet<_> = listed.iter().cloned().collect();
        assert_eq!(listed.len(), known.len(), "a line is there twice");
        assert_eq!(documented, known);
    }
}
