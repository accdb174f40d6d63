//! A process dies before and after each step of a flight; the next one ends where the table in
//! `docs/stores.md` says.

use std::path::Path;

use token_rotator_chaos::crash::crash;
use token_rotator_chaos::{Bed, DieAt, Kind, Moment, ProfileName, Step};

const PROGRAM: &str = env!("CARGO_BIN_EXE_token-rotator-chaos");

/// What is left of the refresh token when the process dies there.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Left {
    /// Nothing was begun.
    Untouched,
    /// An intent stands in the record, and the token is good.
    Doubted,
    /// The token is spent, and what the issuer answered is lost.
    Spent,
    /// The next token is in the record.
    Replaced,
}

fn left(die_at: DieAt) -> Left {
    match (die_at.step, die_at.moment) {
        (Step::Peek | Step::Lease | Step::Read, _) | (Step::Journal, Moment::Before) => {
            Left::Untouched
        }
        (Step::Journal, Moment::After) | (Step::Refresh, Moment::Before) => Left::Doubted,
        (Step::Refresh, Moment::After) | (Step::Save, Moment::Before) => Left::Spent,
        (Step::Save, Moment::After) | (Step::Release, _) => Left::Replaced,
    }
}

/// The row of the table: refreshes that the issuer grants in all, presentations again as the profile
/// allows and as the last resort, alarms, and whether the session lives.
fn row(profile: ProfileName, left: Left) -> (u64, (usize, usize), u64, bool) {
    match (left, profile) {
        (Left::Untouched | Left::Replaced, _) | (Left::Doubted, ProfileName::MultiUse) => {
            (1, (0, 0), 0, true)
        }
        (Left::Doubted, ProfileName::Strict) => (1, (0, 1), 0, true),
        (Left::Doubted, _) => (1, (1, 0), 0, true),
        // Unavoidable: the issuer takes it for a theft, whoever presents it.
        (Left::Spent, ProfileName::Strict) => (1, (0, 1), 1, false),
        (Left::Spent, ProfileName::MultiUse) => (2, (0, 0), 0, true),
        (Left::Spent, _) => (2, (1, 0), 0, true),
    }
}

async fn every_step(kind: Kind, profile: ProfileName) {
    let Some(mut bed) = Bed::make(kind).await else {
        return;
    };
    let mut first = true;
    for step in Step::ALL {
        if step == Step::Journal && profile == ProfileName::MultiUse {
            // Nothing is in doubt there, so nothing is written down.
            continue;
        }
        for moment in [Moment::Before, Moment::After] {
            let die_at = DieAt { step, moment };
            if !std::mem::take(&mut first) && kind == Kind::File {
                bed = Bed::make(kind).await.expect("a directory");
            }
            let aftermath = crash(Path::new(PROGRAM), bed.place(), profile, die_at).await;
            let (refreshes, again, alarms, alive) = row(profile, left(die_at));
            let seen = (
                aftermath.counters.refreshes,
                aftermath.presented_again(),
                aftermath.counters.reuses,
                aftermath.alive,
            );
            assert_eq!(
                seen,
                (refreshes, again, alarms, alive),
                "{profile:?}, {die_at:?}: {aftermath:#?}"
            );
            assert_eq!(aftermath.recovered(), alive, "{die_at:?}: {aftermath:#?}");
        }
    }
}

macro_rules! crashes {
    ($store:ident, $kind:expr) => {
        mod $store {
            use super::*;

            #[tokio::test]
            async fn strict() {
                every_step($kind, ProfileName::Strict).await;
            }

            #[tokio::test]
            async fn leeway() {
                every_step($kind, ProfileName::Leeway).await;
            }

            #[tokio::test]
            async fn parent_always() {
                every_step($kind, ProfileName::ParentAlways).await;
            }

            #[tokio::test]
            async fn multi_use() {
                every_step($kind, ProfileName::MultiUse).await;
            }
        }
    };
}

crashes!(file, Kind::File);
crashes!(redis, Kind::Redis);
crashes!(postgres, Kind::Postgres);
