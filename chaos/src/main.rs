//! The chaos program. It runs storms; with the argument `worker` it is one process of a storm.

use std::process::ExitCode;

use token_rotator_chaos::options::{HELP, Options};
use token_rotator_chaos::storm::storm;
use token_rotator_chaos::{TestStore, table, worker};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    match arguments.peek().map(String::as_str) {
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
        _ => match Options::read(arguments) {
            Ok(options) => run(&options),
            Err(problem) => {
                eprintln!("error: {problem}\nhint: --help lists the options");
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
            eprintln!("error: the path of this program is unknown: {error}");
            return ExitCode::from(2);
        }
    };
    let mut verdicts = Vec::new();
    for store in &options.stores {
        for profile in &options.profiles {
            let (name, length) = (profile.name(), options.length);
            eprintln!("{}, {name}: {length:?}", store.name());
            // A new server for each storm: stopped workers may still hold connections to the last one.
            let Some(store) = TestStore::make(*store).await else {
                eprintln!("error: the {} server is not on this machine", store.name());
                return ExitCode::from(2);
            };
            verdicts.push(storm(&program, store.address(), *profile, length).await);
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
