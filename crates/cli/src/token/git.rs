//! The git credential helper: `git config credential.helper '!token-rotator token -f git-credential'`.

use std::io::{BufRead as _, BufReader};
use std::process::ExitCode;

use jiff::Timestamp;
use token_rotator::{ExposeSecret as _, Origin};

use super::obtain::{TokenRequirements, obtain_token};
use super::user_names::{UserNames, other_user};
use crate::command_error::CommandError;
use crate::session::{NamedSession, no_token};

/// Limit of lines read from git, which sends far fewer.
const LINES_MAX: usize = 256;

/// Answers the request that git writes to stdin (gitcredentials(7)).
pub(super) async fn run(
    session: &NamedSession<'_>,
    operation: Option<&str>,
) -> Result<ExitCode, CommandError> {
    let request = CredentialRequest::read()?;
    match operation {
        None | Some("get") => get(session, &request).await,
        Some("erase") => erase(session, &request).await,
        // The session is stored already; operations of later git versions are ignored.
        Some(_) => Ok(ExitCode::SUCCESS),
    }
}

async fn get(
    session: &NamedSession<'_>,
    request: &CredentialRequest,
) -> Result<ExitCode, CommandError> {
    if !request.is_for_session(session)? {
        return Ok(ExitCode::SUCCESS);
    }
    let rotator = session.rotator()?;
    let token = obtain_token(session, &rotator, TokenRequirements::default()).await;
    session.shut_down(&rotator).await;
    let token = token?;
    let names = UserNames::of(session, token.token_set());
    let user = match request.value("username").filter(|user| !user.is_empty()) {
        Some(user) if names.answer_for(user) => user,
        Some(user) => {
            other_user(session, user).print_as_warning();
            return Ok(ExitCode::SUCCESS);
        }
        // Git hosts read the token from the password; some require this user name.
        None => session.settings.username.as_deref().unwrap_or("oauth2"),
    };
    let expires_at = super::expires_at(&rotator, &token);
    let expires_at = expires_at
        .and_then(|at| Timestamp::try_from(at).ok())
        .map(|at| format!("password_expiry_utc={}\n", at.as_second()));
    super::print(&format!(
        "username={user}\npassword={}\n{}",
        token.secret().expose_secret(),
        expires_at.unwrap_or_default()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Handles a token that a host refused: refreshes it if it is still the newest.
async fn erase(
    session: &NamedSession<'_>,
    request: &CredentialRequest,
) -> Result<ExitCode, CommandError> {
    let (true, Some(password)) = (request.is_for_session(session)?, request.value("password"))
    else {
        return Ok(ExitCode::SUCCESS);
    };
    let rotator = session.rotator()?;
    let refreshed = async {
        let token = rotator.token().await?;
        if token.secret().expose_secret() == password {
            rotator.refused(&token).await?;
        }
        Ok(())
    };
    let refreshed = refreshed.await;
    session.shut_down(&rotator).await;
    refreshed.map_err(|error| no_token(&session.name, &error))?;
    Ok(ExitCode::SUCCESS)
}

/// The request of git: names and values.
struct CredentialRequest(Vec<(String, String)>);

impl CredentialRequest {
    fn read() -> Result<Self, CommandError> {
        let mut values = Vec::new();
        for line in BufReader::new(std::io::stdin().lock())
            .lines()
            .take(LINES_MAX)
        {
            let line = line.map_err(|error| {
                CommandError::new("git's request cannot be read")
                    .because(error)
                    .hint("`--format git-credential` is for git, which writes its request to stdin")
            })?;
            match line.split_once('=') {
                Some((name, value)) => values.push((name.to_owned(), value.to_owned())),
                // An empty line ends the request.
                None => break,
            }
        }
        Ok(Self(values))
    }

    fn value(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().rev();
        values
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns whether `origins` of the session allows the host. If not, git asks its next helper.
    ///
    /// *Errors:* the session has no `origins`.
    fn is_for_session(&self, session: &NamedSession<'_>) -> Result<bool, CommandError> {
        let Some(origins) = &session.settings.origins else {
            return Err(CommandError::new(format!(
                "session `{}` has no token for git",
                session.name
            ))
            .why("its configuration has no `origins` that may receive its token")
            .hint(format!(
                "name git's hosts: `origins = [\"https://git.example.com\"]` under [sessions.{}] in {}, or `login --origin`",
                session.name,
                session.config_file().display()
            )));
        };
        let (Some(protocol), Some(host)) = (self.value("protocol"), self.value("host")) else {
            return Ok(false);
        };
        let origin: Option<Origin> = format!("{protocol}://{host}").parse().ok();
        Ok(origin.is_some_and(|origin| origins.iter().any(|allowed| allowed.0 == origin)))
    }
}
