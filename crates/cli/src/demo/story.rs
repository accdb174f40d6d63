//! What the demo says around its picture, on stderr.

use anstyle::AnsiColor;

use crate::arguments::{DemoOptions, IssuerProfile};
use crate::demo::outcome::{End, Outcome, hopeless};

/// Before the runs.
pub(crate) fn opening(options: &DemoOptions, profile: IssuerProfile) {
    let rule = match profile {
        IssuerProfile::Strict => "single use; using one twice ends the session for all",
        IssuerProfile::Leeway => "single use, with a grace period of 10 seconds",
        IssuerProfile::ParentAlways => "single use, but the last one still answers",
        IssuerProfile::MultiUse => "good for many uses",
        IssuerProfile::Rotating => "good for many uses, with a new one each time",
    };
    anstream::eprintln!(
        "An access token expires under {} requests at once. Refresh tokens are {rule}.",
        options.requests
    );
    if options.cancel_leader {
        anstream::eprintln!("The request that starts the refresh is cancelled meanwhile.");
    }
    if options.lost_answer {
        anstream::eprintln!("The answer to the first refresh is lost on its way back.");
    }
    anstream::eprintln!();
}

/// After them.
pub(crate) fn closing(
    options: &DemoOptions,
    profile: IssuerProfile,
    rotator: &Outcome,
    perfect: bool,
) {
    let good = AnsiColor::Green.on_default().bold();
    let bad = AnsiColor::Red.on_default().bold();
    if !perfect {
        anstream::eprintln!("{bad}token-rotator's run was not perfect.{bad:#}");
        anstream::eprintln!("hint: run it again with --json and report what it prints");
    } else if hopeless(options, profile) {
        anstream::eprintln!(
            "{good}Nobody hangs:{good:#} on this issuer a second try could end the session, so all {} \
             callers were told that the outcome is uncertain.",
            rotator.count(End::Uncertain)
        );
    } else {
        anstream::eprintln!(
            "{good}One refresh served everybody.{good:#} Try --cancel-leader, --lost-answer, or \
             --requests 10000."
        );
    }
}
