//! Who one is: signing in and out, and the credential as the server sees it.

use gantry_api_types::identity::{Me, Refresh, SignIn, SignedIn};
use http::Method;

use crate::api::ApiClient;
use crate::error::ClientError;

impl ApiClient {
    /// Who calls, and what the credential allows.
    pub async fn me(&self) -> Result<Me, ClientError> {
        self.caller.get("/api/v1/me").answer().await
    }

    pub async fn sign_in(&self, request: &SignIn) -> Result<SignedIn, ClientError> {
        self.caller.post("/api/v1/auth/login").json(request).answer().await
    }

    /// Another access token, and the refresh token's successor. Not to be repeated: a refresh token works once.
    pub async fn refresh(&self, request: &Refresh) -> Result<SignedIn, ClientError> {
        self.caller.post("/api/v1/auth/refresh").json(request).answer().await
    }

    pub async fn sign_out(&self, request: &Refresh) -> Result<(), ClientError> {
        self.caller.call(Method::POST, "/api/v1/auth/logout").json(request).done().await
    }

    /// Presents another credential from now on, in every clone; for one that has a successor.
    pub fn present(&self, credential: &str) {
        self.caller.present(credential);
    }
}
