//! What `dedicated_thread` costs: the time of a refresh and of a build, on the runtime of the caller and on a thread of
//! the rotator's own. The source answers at once, so the figures show the way to the flight and back.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use token_rotator::{Rotator, RotatorBuilder, SourceError, TokenSet};
use token_rotator_benches::program;
use token_rotator_benches::table::Table;

const REFRESHES: u32 = 20_000;
const BUILDS: u32 = 500;

fn main() -> ExitCode {
    if !program::is_asked_to_measure() {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    println!("### Where the flight runs\n");
    let mut table = Table::new([
        "flights on",
        "µs for a refresh",
        "µs to build and drop a rotator",
    ]);
    let own: fn(RotatorBuilder) -> RotatorBuilder = RotatorBuilder::dedicated_thread;
    let callers: fn(RotatorBuilder) -> RotatorBuilder = |builder| builder;
    for (name, set) in [
        ("the runtime of the caller", callers),
        ("`dedicated_thread`", own),
    ] {
        let refresh = runtime.block_on(async {
            let rotator = build(set);
            rotator.refresh_now().await.expect("a token");
            let begun = Instant::now();
            for _ in 0..REFRESHES {
                rotator.refresh_now().await.expect("a token");
            }
            begun.elapsed() / REFRESHES
        });
        let begun = Instant::now();
        for _ in 0..BUILDS {
            drop(build(set));
        }
        let built = begun.elapsed() / BUILDS;
        table.row([name.to_owned(), micros(refresh), micros(built)]);
    }
    println!("{table}");
    ExitCode::SUCCESS
}

fn build(set: fn(RotatorBuilder) -> RotatorBuilder) -> Rotator {
    let source = |_last: Option<Arc<TokenSet>>| async {
        Ok::<_, SourceError>(TokenSet::bearer("t").expires_in(Duration::from_secs(3_600)))
    };
    set(Rotator::builder(source)).build().expect("a rotator")
}

fn micros(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e6)
}
