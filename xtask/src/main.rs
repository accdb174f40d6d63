//! The commands of the project, run as `cargo xtask`.
//!
//! - `cargo xtask test`: the one test command. CI runs it and nothing else.
//! - `cargo xtask soak`: long checks before a release.
//! - `cargo xtask bench`: the cost of the hot path and of the storm.
//! - `cargo xtask bench-proxy`: the cost of the proxy, beside nginx and haproxy.
//! - `cargo xtask compare-sidecars`: what callers see when a token ends, through our proxy and two other proxies.
//! - `cargo xtask chaos`: processes on one session, killed and stopped at random.
//! - `cargo xtask count`: lines of code, for a comparison of two states of the project.
//! - `cargo xtask comments`: a random sample of the comments, to check how they read.
//!
//! `arguments` reads the command line, `workspace` asks cargo for the packages, `install` installs programs and
//! packages. `process` runs a command and keeps its output, `screen` chooses the lines to show, `tally` counts the
//! tests. `plan` runs the steps, `cpu_time` measures their processor time, `report` prints their results. The steps are
//! in `test_steps`, `soak_steps`, `programs` and `npm`, and in `checks` if they are more than one command.

mod arguments;
mod checks;
mod code_lines;
mod comments;
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
        Task::Comments(sample) => sample.run(&workplace),
    }
}
