//! Compares what callers see when their token ends, through `token-rotator proxy`, the credential injector of Envoy and
//! `mod_auth_openidc` of Apache. All three play the same script at a certified issuer with single-use refresh tokens.
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

/// The number of rounds. Every proxy plays every act in each round.
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

/// An act, its proxy, and the result of each round.
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

/// The bars apply to our proxy only.
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
                "- met: {}: no caller saw an error, one token call each, session alive",
                act.name()
            );
        } else {
            println!("- missed: {}: {}", act.name(), flaws.join("; "));
            code = ExitCode::FAILURE;
        }
    }
    code
}
