//! A little of what `cargo xtask chaos` does for minutes: see there.

use std::path::Path;
use std::time::Duration;

use token_rotator_chaos::storm::storm;
use token_rotator_chaos::{Bed, Kind, ProfileName, table};

const PROGRAM: &str = env!("CARGO_BIN_EXE_token-rotator-chaos");
/// Of each storm. All together take some twenty seconds.
const LENGTH: Duration = Duration::from_millis(3_500);

async fn rage(kind: Kind, profile: ProfileName) {
    let Some(bed) = Bed::make(kind).await else {
        return;
    };
    let verdict = storm(Path::new(PROGRAM), bed.place(), profile, LENGTH).await;
    let text = table::text(std::slice::from_ref(&verdict));
    println!("{text}");
    assert!(verdict.holds(), "{text}");
    assert!(verdict.answered > 0 && verdict.refreshes > 0, "{text}");
}

macro_rules! storms {
    ($store:ident, $kind:expr) => {
        mod $store {
            use super::*;

            #[tokio::test]
            async fn strict() {
                rage($kind, ProfileName::Strict).await;
            }

            #[tokio::test]
            async fn leeway() {
                rage($kind, ProfileName::Leeway).await;
            }
        }
    };
}

storms!(file, Kind::File);
storms!(redis, Kind::Redis);
storms!(postgres, Kind::Postgres);
