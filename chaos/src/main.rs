//! The program: a run of storms, and the workers that it starts.

use std::process::ExitCode;

use token_rotator_chaos::options::{HELP, Options};
use token_rotator_chaos::storm::storm;
use token_rotator_chaos::{Bed, table, worker};

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    match words.peek().map(String::as_str) {
        Some("worker") => match worker::main() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        },
        Some("--help") => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        _ => match Options::read(words) {
            Ok(options) => run(&options),
            Err(problem) => {
                eprintln!("error: {problem}\nhint: --help lists the words");
                ExitCode::from(2)
            }
        },
    }
}

#[tokio::main]
async fn run(options: &Options) -> ExitCode {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            eprintln!("error: where this program is cannot be told: {error}");
            return ExitCode::from(2);
        }
    };
    let mut verdicts = Vec::new();
    for store in &options.stores {
        for profile in &options.profiles {
            let (name, length) = (profile.word(), options.length);
            eprintln!("{}, {name}: {length:?}", store.word());
            // A new server for each, as the last one may still be full of what was stopped.
            let Some(bed) = Bed::make(*store).await else {
                eprintln!("error: the {} server is not on this machine", store.word());
                return ExitCode::from(2);
            };
            verdicts.push(storm(&program, bed.place(), *profile, length).await);
        }
    }
    if options.json {
        println!("{}", serde_json::to_string(&verdicts).unwrap_or_default());
    } else {
        print!("{}", table::text(&verdicts));
    }
    if verdicts.iter().all(token_rotator_chaos::Verdict::holds) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
