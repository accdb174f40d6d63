//! Runs steps one after another, times each step, and reports the results.

use std::{process::ExitCode, time::Instant};

use crate::{
    cpu_time,
    report::{Cost, Outcome, Report, Verdict, seconds},
    workspace::Workplace,
};

/// One step of a command.
pub(crate) struct Step {
    /// The name for `--only`, in the report and of the log.
    pub(crate) name: &'static str,
    /// One line for the help.
    pub(crate) about: &'static str,
    /// The dependency on other steps.
    pub(crate) role: Role,
    /// Runs the step.
    pub(crate) run: Box<dyn Fn(&Workplace) -> Outcome>,
}

/// The dependency of a step on other steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Needs no build of the workspace.
    Alone,
    /// Builds the workspace: if it fails, the steps that need the build are not tried.
    Builds,
    /// Needs the build.
    NeedsBuild,
}

impl Step {
    /// Creates a step.
    pub(crate) fn new(
        name: &'static str,
        about: &'static str,
        role: Role,
        run: impl Fn(&Workplace) -> Outcome + 'static,
    ) -> Self {
        Self {
            name,
            about,
            role,
            run: Box::new(run),
        }
    }
}

/// Runs all steps, or only those named, and prints the report. Errors: a name without a step.
pub(crate) fn run(
    workplace: &Workplace,
    mut steps: Vec<Step>,
    only: &[String],
) -> Result<ExitCode, String> {
    if let Some(unknown) = only
        .iter()
        .find(|name| steps.iter().all(|step| step.name != name.as_str()))
    {
        let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
        return Err(format!(
            "no step named {unknown}; there are {}",
            names.join(", ")
        ));
    }
    if only.is_empty() {
        // The canary step searches all logs, so the logs of an earlier run have to go.
        match std::fs::remove_dir_all(workplace.logs()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("{}: {error}", workplace.logs().display()));
            }
            _ => {}
        }
    } else {
        steps.retain(|step| only.iter().any(|name| name == step.name));
    }
    let report = go(workplace, &steps);
    print!("{}", report.text());
    Ok(if report.any_failed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn go(workplace: &Workplace, steps: &[Step]) -> Report {
    let mut report = Report::default();
    let mut built = true;
    for step in steps {
        if !built && step.role == Role::NeedsBuild {
            report.add(
                step.name,
                Cost::default(),
                Outcome::skipped("not tried: the workspace does not build"),
            );
            continue;
        }
        println!("\n== {}: {}", step.name, step.about);
        let (start, processor) = (Instant::now(), cpu_time::of_children());
        let mut outcome = (step.run)(workplace);
        let cost = Cost {
            time: start.elapsed(),
            processor: cpu_time::of_children().saturating_sub(processor),
        };
        if outcome.verdict == Verdict::Skipped && workplace.ci {
            outcome.verdict = Verdict::Failed;
            outcome.detail = format!("cannot run here, and CI=true: {}", outcome.detail);
        }
        if outcome.verdict == Verdict::Failed && step.role == Role::Builds {
            built = false;
        }
        let word = outcome.verdict.word();
        let colon = if outcome.detail.is_empty() { "" } else { ": " };
        println!(
            "== {} {word} after {}{colon}{}",
            step.name,
            seconds(cost.time),
            outcome.detail
        );
        report.add(step.name, cost, outcome);
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workplace(ci: bool) -> Workplace {
        Workplace {
            root: "/nowhere".into(),
            target: "/nowhere/target".into(),
            packages: vec![],
            ci,
        }
    }

    fn step(name: &'static str, role: Role, outcome: Outcome) -> Step {
        Step::new(name, "for a test", role, move |_| outcome.clone())
    }

    #[test]
    fn later_steps_run_after_a_failed_one() {
        let steps = [
            step("one", Role::Alone, Outcome::failed("")),
            step("two", Role::NeedsBuild, Outcome::passed("seen")),
        ];
        let report = go(&workplace(false), &steps);
        assert!(report.any_failed());
        assert!(
            report.text().ends_with("1 passed, 1 failed\n"),
            "{}",
            report.text()
        );
    }

    #[test]
    fn without_a_build_only_what_needs_none_runs() {
        let steps = [
            step("build", Role::Builds, Outcome::failed("")),
            step("tests", Role::NeedsBuild, Outcome::passed("")),
            step("rules", Role::Alone, Outcome::passed("")),
        ];
        let text = go(&workplace(true), &steps).text();
        assert!(text.ends_with("1 passed, 1 failed, 1 skipped\n"), "{text}");
    }

    #[test]
    fn what_cannot_run_fails_in_ci_only() {
        let steps = [step("install", Role::Alone, Outcome::skipped("no apt-get"))];
        assert!(!go(&workplace(false), &steps).any_failed());
        let report = go(&workplace(true), &steps);
        assert!(report.any_failed());
        assert!(report.text().contains("no apt-get"));
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        let problem = run(
            &workplace(false),
            vec![step("fmt", Role::Alone, Outcome::passed(""))],
            &["fnt".to_owned()],
        )
        .expect_err("unknown");
        assert!(
            problem.contains("fnt") && problem.contains("fmt"),
            "{problem}"
        );
    }
}
