//! Writes random histories with the answers of this core, one JSON object a line. A port of the
//! core replays them and compares.
//!
//! `cargo run -p token-rotator-core --example histories -- COUNT`. The same COUNT gives the same
//! histories on every machine.

use std::io::{self, BufWriter, Write as _};

use common::generate::Seed;
use common::scenario::Scenario;

#[path = "../tests/common/mod.rs"]
mod common;

/// Events of each history.
const EVENTS: usize = 40;

fn main() -> io::Result<()> {
    let count = std::env::args().nth(1);
    let count: u64 = count
        .and_then(|count| count.parse().ok())
        .expect("the number of histories as the one argument");
    let mut out = BufWriter::new(io::stdout().lock());
    for number in 0..count {
        let mut words = Seed(number);
        let rules = words.next().expect("a word");
        let words: Vec<u64> = words.take(EVENTS).collect();
        // Every second history names endpoints.
        let line = Scenario::line(rules, &words, number % 2 == 1);
        writeln!(out, "{line}")?;
    }
    out.flush()
}
