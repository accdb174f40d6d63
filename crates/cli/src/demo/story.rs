//! What the demo says around its picture, on stderr: lines of 80 columns at the most.

use anstyle::AnsiColor;

use crate::arguments::{DemoOptions, IssuerProfile};
use crate::demo::outcome::{End, Outcome, hopeless};

/// Before the runs.
pub(crate) fn opening(options: &DemoOptions, profile: IssuerProfile) -> String {
    let rule = match profile {
        IssuerProfile::Strict => "single use; using one twice ends the session for all",
        IssuerProfile::Leeway => "single use, with a grace period of 10 seconds",
        IssuerProfile::ParentAlways => "single use, but the last one still answers",
        IssuerProfile::MultiUse => "good for many uses",
        IssuerProfile::Rotating => "good for many uses, with a new one each time",
    };
    let mut text = format!(
        "An access token expires under {} requests at once.\nRefresh tokens are {rule}.\n",
        options.requests
    );
    if options.cancel_leader {
        text += "The request that starts the refresh is cancelled meanwhile.\n";
    }
    if options.lost_answer {
        text += "The answer to the first refresh is lost on its way back.\n";
    }
    text
}

/// After them.
pub(crate) fn closing(
    options: &DemoOptions,
    profile: IssuerProfile,
    rotator: &Outcome,
    perfect: bool,
) -> String {
    let good = AnsiColor::Green.on_default().bold();
    let bad = AnsiColor::Red.on_default().bold();
    if !perfect {
        format!(
            "{bad}token-rotator's run was not perfect.{bad:#}\n\
             hint: run it again with --json and report what it prints\n"
        )
    } else if hopeless(options, profile) {
        format!(
            "{good}Nobody hangs:{good:#} on this issuer a second try could end the session, so all\n\
             {} callers were told that the outcome is uncertain.\n",
            rotator.count(End::Uncertain)
        )
    } else {
        format!(
            "{good}One refresh served everybody.{good:#}\n\
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

    /// Whatever the issuer, the faults and the number of requests.
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
                let outcome = all_ended(End::Uncertain, 100_000);
                let mut said = opening(&options, *profile);
                for perfect in [false, true] {
                    said += &closing(&options, *profile, &outcome, perfect);
                }
                for line in strip_str(&said).to_string().lines() {
                    assert!(line.chars().count() <= 80, "{line}");
                }
            }
        }
    }
}
