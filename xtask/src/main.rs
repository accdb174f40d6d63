//! The project's own commands, run as `cargo xtask`.
//!
//! - `cargo xtask test`: the one test command. CI runs it and nothing else.
//! - `cargo xtask soak`: what takes too long for every change.
//! - `cargo xtask bench`: what the hot path and the storm cost.
//! - `cargo xtask bench-proxy`: what the proxy costs, beside others.
//! - `cargo xtask compare-sidecars`: what callers see when a token ends, through the proxy and through others.
//! - `cargo xtask chaos`: real processes on one session, killed and stopped at random.
//! - `cargo xtask count`: lines of code, to compare two states of the project.
//!
//! A table of contents: `arguments` reads the command line, `workspace` asks cargo what there is, `install` brings what is
//! missing, `process` runs a command and keeps its output, `screen` chooses the lines of it worth showing, `tally` counts the
//! tests in it, `plan` runs the steps one after another, `cpu_time` measures what they cost, `report` shows how they went. The steps themselves: `test_steps`,
//! `soak_steps`, `programs`, `npm`, and in `checks` those that are more than a command.

mod arguments;
mod checks;
mod code_lines;
mod cpu_time;
mod install;
mod npm;
mod plan;
mod process;
mod programs;
mod report;
mod screen;
mod soak_steps;
mod tally;
mod test_steps;
mod workspace;

use std::process::ExitCode;

use arguments::Task;
use workspace::Workplace;

fn main() -> ExitCode {
    let task = match arguments::parse(std::env::args().skip(1)) {
        Ok(task) => task,
        Err(problem) => {
            eprintln!("error: {problem}\nhint: `cargo xtask --help` lists the commands");
            return ExitCode::from(2);
        }
    };
    match run(&task) {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::from(2)
        }
    }
}

fn run(task: &Task) -> Result<ExitCode, String> {
    if matches!(task, Task::Help) {
        print!("{}", arguments::help());
        return Ok(ExitCode::SUCCESS);
    }
    let workplace = Workplace::find()?;
    match task {
        Task::Help => unreachable!("answered above"),
        Task::Test { only } => plan::run(&workplace, test_steps::all(), only),
        Task::Soak { only } => plan::run(&workplace, soak_steps::all(), only),
        Task::Bench { arguments } => programs::bench(&workplace, arguments),
        Task::BenchProxy { arguments } => programs::bench_proxy(&workplace, arguments),
        Task::CompareSidecars { arguments } => programs::compare_sidecars(&workplace, arguments),
        Task::Chaos { arguments } => programs::chaos(&workplace, arguments),
        Task::Count { paths } => code_lines::run(paths),
    }
}
