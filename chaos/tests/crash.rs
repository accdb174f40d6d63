//! A process dies before and after each step of a flight. The next process ends as the table in
//! `docs/stores.md` says.

use std::path::Path;

use token_rotator_chaos::crash::crash;
use token_rotator_chaos::{DieAt, Kind, Moment, ProfileName, Step, TestStore};

const PROGRAM: &str = env!("CARGO_BIN_EXE_token-rotator-chaos");

/// The state of the refresh token after the death.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Left {
    /// The refresh token is unspent, and no intent is written.
    Untouched,
    /// An intent is in the record, and the refresh token is unspent.
    Doubted,
    /// The refresh token is spent, and the answer of the issuer is lost.
    Spent,
    /// The next token set is in the record.
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

/// The row of the table: all token sets that the issuer sends; refresh tokens presented again because
/// the profile allows it, and as the last resort; alarms; whether the session lives.
fn row(profile: ProfileName, left: Left) -> (u64, (usize, usize), u64, bool) {
    match (left, profile) {
        (Left::Untouched | Left::Replaced, _) | (Left::Doubted, ProfileName::MultiUse) => {
            (1, (0, 0), 0, true)
        }
        (Left::Doubted, ProfileName::Strict) => (1, (0, 1), 0, true),
        (Left::Doubted, _) => (1, (1, 0), 0, true),
        // Unavoidable: the issuer treats every further presentation as reuse.
        (Left::Spent, ProfileName::Strict) => (1, (0, 1), 1, false),
        (Left::Spent, ProfileName::MultiUse) => (2, (0, 0), 0, true),
        (Left::Spent, _) => (2, (1, 0), 0, true),
    }
}

async fn every_step(kind: Kind, profile: ProfileName) {
    let Some(mut store) = TestStore::make(kind).await else {
        return;
    };
    let mut first = true;
    for step in Step::ALL {
        if step == Step::Journal && profile == ProfileName::MultiUse {
            // Refresh tokens of this profile are never in doubt, so flights write no intent.
            continue;
        }
        for moment in [Moment::Before, Moment::After] {
            let die_at = DieAt { step, moment };
            if !std::mem::take(&mut first) && kind == Kind::File {
                store = TestStore::make(kind).await.expect("a directory");
            }
            let aftermath = crash(Path::new(PROGRAM), store.address(), profile, die_at).await;
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
