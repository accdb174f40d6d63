//! `token-rotator demo`: runs the race at expiry with naive clients and with token-rotator.
//!
//! - `servers.rs`: the issuer and the API of a run; `naive.rs`, `rotator.rs`: the two runs
//! - `outcome.rs`: what a run recorded; `table.rs`, `timeline.rs`, `messages.rs`: what is printed
//! - `web.rs`: `--web`, the endless run on the proxy's page

mod messages;
mod naive;
mod outcome;
mod rotator;
mod servers;
mod table;
mod timeline;
mod web;

use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use crate::arguments::{DemoOptions, IssuerProfile};
use crate::command_error::CommandError;
use crate::demo::outcome::RunOutcome;
use crate::demo::servers::Servers;
use crate::demo::table::RunSummary;
use crate::output::{self, say};

/// The summaries of both runs, as `--json` prints them.
#[derive(Serialize)]
struct RunSummaries {
    naive: RunSummary,
    rotator: RunSummary,
}

/// Runs both kinds of clients and prints the results. Exits with 0 if token-rotator's run was perfect.
pub(crate) async fn run(options: DemoOptions) -> Result<ExitCode, CommandError> {
    if options.web {
        return web::run(&options).await;
    }
    let profile = options.profile.unwrap_or(if options.lost_answer {
        IssuerProfile::ParentAlways
    } else {
        IssuerProfile::Strict
    });
    if !options.json {
        say!("{}", messages::opening(&options, profile));
    }
    let naive = run_once(&options, profile, ClientKind::Naive).await?;
    let rotator = run_once(&options, profile, ClientKind::Rotator).await?;
    let perfect = rotator.is_perfect(&options, profile);
    let runs = RunSummaries {
        naive: naive.summary(&options, profile),
        rotator: rotator.summary(&options, profile),
    };
    if options.json {
        output::print_json(&runs)?;
    } else {
        output::print(&timeline::draw("each client refreshes on its own", &naive))?;
        output::print(&timeline::draw("token-rotator", &rotator))?;
        let ideal = outcome::ideal_answers(&options, profile);
        output::print(&table::text(&runs.naive, &runs.rotator, ideal))?;
        let closing = messages::closing(&options, profile, &rotator, perfect);
        say!("{}", closing.trim_end());
    }
    Ok(exit_code(perfect))
}

/// Returns 0 only for a perfect run.
fn exit_code(perfect: bool) -> ExitCode {
    if perfect {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

enum ClientKind {
    Naive,
    Rotator,
}

async fn run_once(
    options: &DemoOptions,
    profile: IssuerProfile,
    kind: ClientKind,
) -> Result<RunOutcome, CommandError> {
    let servers = Arc::new(Servers::start(options, profile).await?);
    let callers = match kind {
        ClientKind::Naive => naive::run(&servers, options).await?,
        ClientKind::Rotator => rotator::run(&servers, options, profile).await?,
    };
    Ok(servers.finish(callers).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_perfect_run_exits_with_zero() {
        assert_eq!(exit_code(true), ExitCode::SUCCESS);
        assert_eq!(exit_code(false), ExitCode::FAILURE);
    }
}
