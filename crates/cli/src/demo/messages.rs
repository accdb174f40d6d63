//! The demo's messages on stderr, in lines of at most 80 columns.

use anstyle::AnsiColor;

use crate::arguments::{DemoOptions, IssuerProfile};
use crate::demo::outcome::{CallerOutcome, RunOutcome, is_unrecoverable};

/// Returns the message before the runs.
pub(crate) fn opening(options: &DemoOptions, profile: IssuerProfile) -> String {
    let rule = match profile {
        IssuerProfile::Strict => "single use; using one twice ends the session",
        IssuerProfile::Leeway => "single use, with a grace period of 10 seconds",
        IssuerProfile::ParentAlways => "single use, but the previous one returns its successor",
        IssuerProfile::MultiUse => "valid for many uses",
        IssuerProfile::Rotating => "valid for many uses, with a new one each time",
    };
    let mut text = format!(
        "An access token expires under {} requests at once.\nRefresh tokens are {rule}.\n",
        options.requests
    );
    if options.cancel_leader {
        text += "The request that starts the refresh is cancelled during the refresh.\n";
    }
    if options.lost_answer {
        text += "The answer to the first refresh is lost.\n";
    }
    text
}

/// Returns the message after the runs.
pub(crate) fn closing(
    options: &DemoOptions,
    profile: IssuerProfile,
    rotator: &RunOutcome,
    perfect: bool,
) -> String {
    let good = AnsiColor::Green.on_default().bold();
    let bad = AnsiColor::Red.on_default().bold();
    if !perfect {
        format!(
            "{bad}token-rotator's run was not perfect.{bad:#}\n\
             hint: run it again with --json and report what it prints\n"
        )
    } else if is_unrecoverable(options, profile) {
        format!(
            "{good}No caller hangs:{good:#} at this issuer a second try could end the session, so\n\
             {} callers got the error that the outcome is uncertain.\n",
            rotator.count(CallerOutcome::Uncertain)
        )
    } else {
        format!(
            "{good}One refresh served every caller.{good:#}\n\
             Try --cancel-leader, --lost-answer, or --requests 10000.\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use clap::ValueEnum as _;

    use super::*;
    use crate::demo::outcome::fixture::{all_ended, options};

    /// Checks every profile, with and without a lost answer, at the largest number of requests.
    #[test]
    fn every_line_fits_80_columns() {
        for profile in IssuerProfile::value_variants() {
            for lost_answer in [false, true] {
                let options = DemoOptions {
                    requests: 100_000,
                    cancel_leader: true,
                    lost_answer,
                    ..options()
                };
                let outcome = all_ended(CallerOutcome::Uncertain, 100_000);
                let mut text = opening(&options, *profile);
                for perfect in [false, true] {
                    text += &closing(&options, *profile, &outcome, perfect);
                }
                for line in strip_str(&text).to_string().lines() {
                    assert!(line.chars().count() <= 80, "{line}");
                }
            }
        }
    }
}
