//! A git credential helper: `git config credential.helper '!token-rotator token -f git-credential'`.

use std::io::{BufRead as _, BufReader};
use std::process::ExitCode;

use jiff::Timestamp;
use token_rotator::{ExposeSecret as _, Origin};

use super::fresh::{Wanted, fresh};
use crate::command_error::CommandError;
use crate::session::{Session, no_token};

/// More than git ever says.
const LINES_MAX: usize = 256;

/// Answers what git asks on stdin (gitcredentials(7)).
pub(super) async fn run(
    session: &Session<'_>,
    operation: Option<&str>,
) -> Result<ExitCode, CommandError> {
    let asked = Asked::read()?;
    match operation {
        None | Some("get") => get(session, &asked).await,
        Some("erase") => erase(session, &asked).await,
        // It is stored already; what else git may come to ask is none of ours.
        Some(_) => Ok(ExitCode::SUCCESS),
    }
}

async fn get(session: &Session<'_>, asked: &Asked) -> Result<ExitCode, CommandError> {
    if !asked.is_ours(session)? {
        return Ok(ExitCode::SUCCESS);
    }
    let rotator = session.rotator()?;
    let token = fresh(session, &rotator, Wanted::default()).await;
    session.land(&rotator).await;
    let token = token?;
    // Hosts that take tokens look at the password; some want this user name with it.
    let user = asked.value("username").unwrap_or("oauth2");
    let expires_at = token.token_set().expires_at();
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

/// git was refused with this token: it is refreshed, if it is still the newest.
async fn erase(session: &Session<'_>, asked: &Asked) -> Result<ExitCode, CommandError> {
    let (true, Some(password)) = (asked.is_ours(session)?, asked.value("password")) else {
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
    session.land(&rotator).await;
    refreshed.map_err(|error| no_token(&session.name, &error))?;
    Ok(ExitCode::SUCCESS)
}

/// What git says about what it wants.
struct Asked(Vec<(String, String)>);

impl Asked {
    fn read() -> Result<Self, CommandError> {
        let mut values = Vec::new();
        for line in BufReader::new(std::io::stdin().lock())
            .lines()
            .take(LINES_MAX)
        {
            let line = line.map_err(|error| {
                CommandError::new("what git asks cannot be read")
                    .because(error)
                    .hint("`--format git-credential` is for git to call; it writes to stdin what it wants")
            })?;
            match line.split_once('=') {
                Some((name, value)) => values.push((name.to_owned(), value.to_owned())),
                // An empty line ends it.
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

    /// Whether the session's token may go where git wants to go with it. If not git asks elsewhere.
    fn is_ours(&self, session: &Session<'_>) -> Result<bool, CommandError> {
        let Some(origins) = &session.settings.origins else {
            return Err(CommandError::new(format!(
                "session `{}` has no token for git",
                session.name
            ))
            .why("it says nowhere that its token may go to git's hosts")
            .hint(format!(
                "name them: `origins = [\"https://git.example.com\"]` under [sessions.{}] in {}, or `login --origin`",
                session.name,
                session.config_file().display()
            )));
        };
        let (Some(protocol), Some(host)) = (self.value("protocol"), self.value("host")) else {
            return Ok(false);
        };
        let origin: Option<Origin> = format!("{protocol}://{host}").parse().ok();
        Ok(origin.is_some_and(|origin| origins.iter().any(|ours| ours.0 == origin)))
    }
}
