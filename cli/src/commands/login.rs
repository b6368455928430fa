//! `gantry login`: proves who one is to a server, and keeps what opens it.

use std::io::{IsTerminal as _, Read as _, Write as _};

use gantry_api_types::identity::{Delivery, Hidden, Me, SignIn};
use gantry_api_types::problem::ProblemCode;
use gantry_client::ClientError;

use crate::args::{GlobalArgs, LoginArgs};
use crate::connection::{client, local_dir, server};
use crate::data_dir::Credentials;
use crate::failure::Failure;
use crate::login::{Kept, Login};
use crate::terminal::text;

pub async fn run(global: &GlobalArgs, args: &LoginArgs) -> Result<(), Failure> {
    let url = match server(global)? {
        Some(url) => url,
        None => this_machine()?,
    };
    let login = if args.key { with_key(&url)? } else { with_password(&url, args).await? };
    let opened = match &login.credential {
        Kept::Key { key } => client(&url, key)?,
        Kept::Session { access_token, .. } => client(&url, access_token)?,
    };
    let me = opened.me().await?;
    login.store(&local_dir()).map_err(|error| Failure::unavailable(format!("{error:#}")))?;
    writeln!(anstream::stdout().lock(), "{}", greeting(&url, &me))?;
    Ok(())
}

fn this_machine() -> Result<String, Failure> {
    let local = Credentials::load(&local_dir()).ok().flatten();
    let url = local.map(|local| local.url);
    url.ok_or_else(|| Failure::usage("Where to? Give --url https://gantry.example.com, or set GANTRY_URL."))
}

fn greeting(url: &str, me: &Me) -> String {
    let who = text::line(&me.user.email);
    match &me.organization {
        Some(membership) => {
            format!("You are {who}, {} of {}, at {url}.", membership.role, text::line(&membership.name))
        }
        None => format!("You are {who} at {url}, and belong to no organization: ask for an invitation."),
    }
}

fn with_key(url: &str) -> Result<Login, Failure> {
    let mut key = String::new();
    if std::io::stdin().is_terminal() {
        write!(anstream::stderr().lock(), "API key: ")?;
        key = rpassword::read_password()?;
    } else {
        std::io::stdin().take(4096).read_to_string(&mut key)?;
    }
    let key = key.trim().to_owned();
    if key.is_empty() {
        return Err(
            Failure::usage("There is no key on standard input.").hint("`gantry login --key <key.txt`")
        );
    }
    Ok(Login { url: url.to_owned(), credential: Kept::Key { key } })
}

async fn with_password(url: &str, args: &LoginArgs) -> Result<Login, Failure> {
    let typed = std::io::stdin().is_terminal();
    let email = match &args.email {
        Some(email) => email.clone(),
        None if typed => {
            write!(anstream::stderr().lock(), "E-mail address: ")?;
            line()?
        }
        None => return Err(Failure::usage("Whose password? Give --email.")),
    };
    let password = if typed {
        write!(anstream::stderr().lock(), "Password: ")?;
        rpassword::read_password()?
    } else {
        line()?
    };
    let request = SignIn {
        email,
        password: Hidden(password),
        organization: args.organization.clone(),
        delivery: Some(Delivery::Body),
    };
    let signed = client(url, "")?.sign_in(&request).await.map_err(refused)?;
    Ok(Login::session(url, &signed, ""))
}

/// What helps others who are refused, a key or signing in, is no help here.
fn refused(error: ClientError) -> Failure {
    match error {
        ClientError::Problem { problem, .. } if problem.code == ProblemCode::Unauthorized => {
            Failure::refused(problem.detail)
        }
        other => other.into(),
    }
}

fn line() -> Result<String, Failure> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
