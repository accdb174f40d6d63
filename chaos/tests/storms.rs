//! A little of what `cargo xtask chaos` does for minutes: see there.

use std::path::Path;
use std::time::Duration;

use token_rotator_chaos::storm::storm;
use token_rotator_chaos::{Place, ProfileName, table};

const PROGRAM: &str = env!("CARGO_BIN_EXE_token-rotator-chaos");
/// Of each storm. All together take some twenty seconds.
const LENGTH: Duration = Duration::from_millis(3_500);

async fn rage(place: Place, profile: ProfileName) {
    let verdict = storm(Path::new(PROGRAM), place, profile, LENGTH).await;
    let text = table::text(std::slice::from_ref(&verdict));
    println!("{text}");
    assert!(verdict.holds(), "{text}");
    assert!(verdict.answered > 0 && verdict.refreshes > 0, "{text}");
}

macro_rules! storms {
    ($store:ident, $place:expr) => {
        mod $store {
            use super::*;

            #[tokio::test]
            async fn strict() {
                let root = tempfile::tempdir().expect("a temporary directory");
                rage($place(root.path()), ProfileName::Strict).await;
            }

            #[tokio::test]
            async fn leeway() {
                let root = tempfile::tempdir().expect("a temporary directory");
                rage($place(root.path()), ProfileName::Leeway).await;
            }
        }
    };
}

storms!(file, Place::file);
