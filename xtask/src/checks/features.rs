//! Each feature of each crate compiles alone. The build of the workspace unifies features and hides such errors.

use crate::{
    process::Log,
    report::Outcome,
    screen::Screen,
    workspace::{Package, Workplace},
};

/// Runs `cargo check` on every member without features, with the default features, and with each feature alone. A
/// warning is a failure.
pub(crate) fn run(workplace: &Workplace) -> Outcome {
    let mut log = match Log::create(workplace, "features") {
        Ok(log) => log,
        Err(error) => return Outcome::failed(error.to_string()),
    };
    let mut checks = 0;
    let mut failed = Vec::new();
    for package in workplace.members() {
        for choice in choices(package) {
            checks += 1;
            let mut command = workplace.cargo(["check", "--quiet", "--package", &package.name]);
            command.args(&choice);
            let written = log.text().map_or(0, |text| text.len());
            let passed = log.run(command, Screen::All).and_then(|success| {
                Ok(success && !warns(log.text()?.get(written..).unwrap_or("")))
            });
            match passed {
                Ok(true) => {}
                Ok(false) => failed.push(
                    format!("{} {}", package.name, choice.join(" "))
                        .trim_end()
                        .to_owned(),
                ),
                Err(error) => return Outcome::failed(error.to_string()),
            }
        }
    }
    if failed.is_empty() {
        Outcome::passed(format!("{checks} checks"))
    } else {
        Outcome::failed(format!(
            "{} of {checks} checks: {}",
            failed.len(),
            failed.join(", ")
        ))
    }
}

/// Returns the arguments of each check of a package, without duplicates.
fn choices(package: &Package) -> Vec<Vec<String>> {
    let mut choices = vec![vec![]];
    if package.features.iter().any(|feature| feature == "default") {
        choices.push(vec!["--no-default-features".to_owned()]);
    }
    let alone = package
        .features
        .iter()
        .filter(|feature| *feature != "default");
    choices.extend(alone.map(|feature| {
        vec![
            "--no-default-features".to_owned(),
            "--features".to_owned(),
            feature.clone(),
        ]
    }));
    choices
}

/// Returns true if the compiler warned. cargo's warnings about future incompatibilities of dependencies do not count.
fn warns(output: &str) -> bool {
    output
        .lines()
        .any(|line| line.starts_with("warning") && !line.contains("rejected by a future version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(features: &[&str]) -> Package {
        let features = features.iter().map(|&feature| feature.to_owned()).collect();
        Package {
            name: "some".into(),
            version: "1.0.0".into(),
            features,
            member: true,
            ..Package::default()
        }
    }

    #[test]
    fn each_feature_is_checked_alone() {
        assert_eq!(choices(&package(&[])), [Vec::<String>::new()]);
        let lines: Vec<String> = choices(&package(&["default", "json", "tls"]))
            .iter()
            .map(|choice| choice.join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "",
                "--no-default-features",
                "--no-default-features --features json",
                "--no-default-features --features tls"
            ]
        );
        assert_eq!(choices(&package(&["json"])).len(), 2);
    }

    #[test]
    fn warnings_are_noticed() {
        assert!(warns("warning: unused import: `x`\n --> src/lib.rs"));
        assert!(!warns("$ cargo check --quiet\n"));
        assert!(!warns(
            "warning: the following packages contain code that will be rejected by a future version of Rust: x"
        ));
    }
}
