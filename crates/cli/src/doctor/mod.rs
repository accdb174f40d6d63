//! `token-rotator doctor`: what keeps a session from working, and what to do about it.

mod checks;
mod finding;

use std::process::ExitCode;

use self::finding::{Finding, Grade};
use crate::arguments::{DoctorOptions, GlobalOptions};
use crate::command_error::CommandError;
use crate::output;
use crate::session::Home;

/// Looks, and tells. What cannot even be opened is an error like everywhere.
pub(crate) async fn run(
    global: &GlobalOptions,
    options: DoctorOptions,
) -> Result<ExitCode, CommandError> {
    let home = Home::open(global, "doctor").await?;
    let names = match options.session {
        Some(name) => {
            home.session(&name)?;
            vec![name]
        }
        None => home.session_names().await?,
    };
    let mut findings = checks::of_home(&home, &names).await;
    for name in names {
        let session = home.session(&name)?;
        findings.extend(checks::of_session(&session).await);
    }
    if options.json {
        output::print_pretty_json(&findings)?;
    } else {
        let text: String = findings.iter().map(Finding::text).collect();
        output::print(&text)?;
    }
    let bad = findings.iter().any(|finding| finding.grade == Grade::Bad);
    Ok(ExitCode::from(u8::from(bad)))
}
