//! `gantry logout`: ends the session that `gantry login` began, and forgets what opened the server.

use std::io::Write as _;

use gantry_api_types::identity::{Hidden, Refresh};

use crate::connection::{client, local_dir};
use crate::failure::Failure;
use crate::login::{Kept, Login};

pub async fn run() -> Result<(), Failure> {
    let dir = local_dir();
    // One that is damaged is forgotten as well.
    let kept = Login::load(&dir).ok().flatten();
    let there = Login::forget(&dir)?;
    let mut out = anstream::stdout().lock();
    let Some(Login { url, credential }) = kept else {
        let said = if there { "What was kept is forgotten." } else { "You are not signed in." };
        return Ok(writeln!(out, "{said}")?);
    };
    let Kept::Session { refresh_token, .. } = credential else {
        return Ok(writeln!(out, "The key for {url} is forgotten here; it goes on working elsewhere.")?);
    };
    drop(out);
    let ended = client(&url, "")?.sign_out(&Refresh { refresh_token: Some(Hidden(refresh_token)) }).await;
    ended.map_err(|error| {
        Failure::from(error)
            .hint("Your session is forgotten here, and ends by itself after 14 days without use.")
    })?;
    writeln!(anstream::stdout().lock(), "You are signed out of {url}.")?;
    Ok(())
}
