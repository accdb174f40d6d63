//! What callers see when their token ends, through `token-rotator proxy`, Envoy's credential injector and Apache's
//! `mod_auth_openidc`: the same script for all three, at a certified issuer with single-use refresh tokens.
//!
//! Run it by `cargo xtask compare-sidecars`, which installs what it needs.

mod act;
mod browser;
mod callers;
mod process;
mod proxies;
mod tally;

use std::error::Error;
use std::process::ExitCode;

use token_rotator_benches::table::Table;

use crate::act::Act;
use crate::proxies::Contestant;
use crate::tally::{Tally, row};

/// How many rounds, every contestant and every act in each of them.
const ROUNDS: usize = 3;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let rounds = match std::env::args().nth(1) {
        None => ROUNDS,
        Some(word) => match word.parse() {
            Ok(rounds) if rounds > 0 => rounds,
            _ => return Err(format!("{word} is no number of rounds").into()),
        },
    };
    for contestant in Contestant::ALL {
        println!("- {}: {}", contestant.name(), contestant.version()?);
    }
    let mut stages = Vec::new();
    for act in Act::ALL {
        for contestant in Contestant::ALL {
            stages.push((act, contestant, Vec::new()));
        }
    }
    for round in 1..=rounds {
        for (act, contestant, tallies) in &mut stages {
            let tally = act
                .play(*contestant)
                .await
                .map_err(|error| format!("{}, {}: {error}", contestant.name(), act.name()))?;
            eprintln!(
                "round {round}: {}, {}: {tally}",
                act.name(),
                contestant.name()
            );
            tallies.push(tally);
        }
    }
    print!("\n{}", table(&stages));
    Ok(verdict(&stages))
}

/// An act, who played it, and how it went, round by round.
type Stage = (Act, Contestant, Vec<Tally>);

fn table(stages: &[Stage]) -> Table {
    let mut table = Table::new([
        "the token ends, proxy",
        "calls",
        "saw a 401",
        "other errors",
        "token calls",
        "reuses",
        "session alive",
    ]);
    for (act, contestant, tallies) in stages {
        table.row(row(
            format!("{}, {}", act.name(), contestant.name()),
            tallies,
        ));
    }
    table
}

/// Only ours is held to anything here.
fn verdict(stages: &[Stage]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    println!();
    for (act, contestant, tallies) in stages {
        if *contestant != Contestant::Ours {
            continue;
        }
        let flaws: Vec<String> = tallies.iter().filter_map(Tally::flaw).collect();
        if flaws.is_empty() {
            println!(
                "- met: {}: nobody saw an error, one token call each, session alive",
                act.name()
            );
        } else {
            println!("- missed: {}: {}", act.name(), flaws.join("; "));
            code = ExitCode::FAILURE;
        }
    }
    code
}
