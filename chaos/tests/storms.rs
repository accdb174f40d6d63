//! Short storms. `cargo xtask chaos` runs long ones.

use std::path::Path;
use std::time::Duration;

use token_rotator_chaos::storm::storm;
use token_rotator_chaos::{Kind, ProfileName, TestStore, table};

const PROGRAM: &str = env!("CARGO_BIN_EXE_token-rotator-chaos");
/// The length of each storm. All storms together take some twenty seconds.
const LENGTH: Duration = Duration::from_millis(3_500);

async fn run(kind: Kind, profile: ProfileName) {
    let Some(store) = TestStore::make(kind).await else {
        return;
    };
    let verdict = storm(Path::new(PROGRAM), store.address(), profile, LENGTH).await;
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
                run($kind, ProfileName::Strict).await;
            }

            #[tokio::test]
            async fn leeway() {
                run($kind, ProfileName::Leeway).await;
            }
        }
    };
}

storms!(file, Kind::File);
storms!(redis, Kind::Redis);
storms!(postgres, Kind::Postgres);
