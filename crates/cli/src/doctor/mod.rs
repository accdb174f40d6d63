//! `token-rotator doctor`: checks sessions and says how to repair what does not work.
//!
//! `checks.rs` has the checks of the setup and of the issuer, `record.rs` those of the stored session;
//! `finding.rs` has their results.

mod checks;
mod finding;
mod record;

use std::process::ExitCode;

use self::finding::{Finding, Grade};
use crate::arguments::{DoctorOptions, GlobalOptions};
use crate::command_error::CommandError;
use crate::output;
use crate::session::Context;

/// Prints the findings. Exits with 1 if a finding is bad.
///
/// *Errors:* the configuration or the store cannot be opened, or the session is unknown.
pub(crate) async fn run(
    global: &GlobalOptions,
    options: DoctorOptions,
) -> Result<ExitCode, CommandError> {
    let context = Context::open(global, "doctor").await?;
    let names = match options.session {
        Some(name) => {
            context.session(&name)?;
            vec![name]
        }
        None => context.session_names().await?,
    };
    let mut findings = checks::check_setup(&context, &names).await;
    for name in names {
        let session = context.session(&name)?;
        findings.extend(checks::check_session(&session).await);
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
