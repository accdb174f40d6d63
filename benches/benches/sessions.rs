//! Many idle sessions in one process: the memory of each, and the time to find one.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use token_rotator::{Rotator, Rotators, SessionKey, SourceError, TokenSet};
use token_rotator_benches::at_once;
use token_rotator_benches::program;
use token_rotator_benches::table::Table;

/// The lengths of a JWT with a few claims and of a usual refresh token.
const ACCESS_TOKEN: usize = 900;
const REFRESH_TOKEN: usize = 64;
const LOOKUPS: u32 = 1_000_000;

fn main() -> ExitCode {
    if !program::is_asked_to_measure() {
        return ExitCode::SUCCESS;
    }
    if resident().is_none() {
        println!("skipped: this system does not say how much memory a process has");
        return ExitCode::SUCCESS;
    }
    println!(
        "### Idle sessions in `Rotators`, each signed in with {ACCESS_TOKEN} + {REFRESH_TOKEN} bytes of \
         tokens\n"
    );
    let mut table = Table::new([
        "sessions",
        "bytes each",
        "beyond the tokens",
        "ns to get a token",
    ]);
    for count in [1_000, 100_000, 1_000_000] {
        let before = resident().unwrap_or(0);
        let sessions = fill(count);
        let after = resident().unwrap_or(0);
        let each = after.saturating_sub(before) / u64::from(count);
        // A session holds the access token twice: in the token set and in the ready-made header.
        let tokens = (2 * ACCESS_TOKEN + REFRESH_TOKEN) as u64;
        let nanos = look_up(&sessions, count);
        table.row([
            count.to_string(),
            each.to_string(),
            each.saturating_sub(tokens).to_string(),
            format!("{nanos:.0}"),
        ]);
        drop(sessions);
    }
    println!("{table}");
    ExitCode::SUCCESS
}

fn fill(count: u32) -> Rotators<u32> {
    let source = |_last: Option<Arc<TokenSet>>| async {
        Err::<TokenSet, _>(SourceError::not_sent("no case refreshes"))
    };
    let sessions = Rotator::builder(source)
        .build_many(|user: &u32| SessionKey::new(format!("issuer/client/{user}/api")))
        .expect("rotators");
    for user in 0..count {
        let tokens = TokenSet::bearer(text(user, ACCESS_TOKEN))
            .with_refresh_token(text(user, REFRESH_TOKEN))
            .expires_in(Duration::from_secs(3_600));
        sessions.sign_in(&user, tokens).expect("usable tokens");
    }
    sessions
}

/// Returns a text of `length` bytes that differs for each user.
fn text(user: u32, length: usize) -> String {
    let mut text = format!("{user:010}-");
    text.extend(std::iter::repeat_n('t', length - text.len()));
    text
}

fn look_up(sessions: &Rotators<u32>, count: u32) -> f64 {
    let mut user = 1_u32;
    let begun = Instant::now();
    for _ in 0..LOOKUPS {
        // Visits the sessions out of order, so that no two lookups in a row touch neighbours.
        user = user.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let token = at_once(sessions.token(&(user % count)));
        std::hint::black_box(token.expect("a good token").header());
    }
    begun.elapsed().as_nanos() as f64 / f64::from(LOOKUPS)
}

/// The resident memory of the process in bytes.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4_096)
}
