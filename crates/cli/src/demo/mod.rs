//! `token-rotator demo`: the race at expiry, run twice and drawn from what really happened; or on a
//! page, again and again.

mod naive;
mod outcome;
mod picture;
mod rotator;
mod story;
mod table;
mod web;
mod world;

use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use crate::arguments::{DemoOptions, IssuerProfile};
use crate::command_error::CommandError;
use crate::demo::outcome::Outcome;
use crate::demo::table::Run;
use crate::demo::world::World;
use crate::output::{self, say};

/// The two runs, as `--json` prints them.
#[derive(Serialize)]
struct Runs {
    naive: Run,
    rotator: Run,
}

/// Runs both and shows them. The exit code says whether token-rotator's was perfect.
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
        say!("{}", story::opening(&options, profile));
    }
    let naive = run_once(&options, profile, Kind::Naive).await?;
    let rotator = run_once(&options, profile, Kind::Rotator).await?;
    let perfect = rotator.is_perfect(&options, profile);
    let runs = Runs {
        naive: naive.summary(&options, profile),
        rotator: rotator.summary(&options, profile),
    };
    if options.json {
        output::print_json(&runs)?;
    } else {
        output::print(&picture::of("each client refreshes on its own", &naive))?;
        output::print(&picture::of("token-rotator", &rotator))?;
        let ideal = outcome::ideal_answers(&options, profile);
        output::print(&table::text(&runs.naive, &runs.rotator, ideal))?;
        let closing = story::closing(&options, profile, &rotator, perfect);
        say!("{}", closing.trim_end());
    }
    Ok(exit_code(perfect))
}

/// Zero for a perfect run and for no other.
fn exit_code(perfect: bool) -> ExitCode {
    if perfect {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

enum Kind {
    Naive,
    Rotator,
}

async fn run_once(
    options: &DemoOptions,
    profile: IssuerProfile,
    kind: Kind,
) -> Result<Outcome, CommandError> {
    let world = Arc::new(World::start(options, profile).await?);
    let callers = match kind {
        Kind::Naive => naive::run(&world, options).await?,
        Kind::Rotator => rotator::run(&world, options, profile).await?,
    };
    Ok(world.finish(callers).await)
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
