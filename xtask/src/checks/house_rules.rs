//! Rules of the house that no compiler knows: nothing in the project names a registry's host or a path of one machine, and
//! files fit in the head.

use std::path::{Path, PathBuf};

use crate::{process::Log, report::Outcome, workspace::Workplace};

/// What no file may say, in two pieces so that this file does not say it.
const FORBIDDEN: [(&str, &str); 12] = [
    ("registry.np", "mjs"),
    ("npm", "js.com"),
    ("npm", "js.org"),
    ("crates", ".io/"),
    ("pypi", ".org"),
    ("pythonhosted", ".org"),
    ("deb.deb", "ian"),
    ("proxy.golang", ".org"),
    ("repo.maven", ".apache"),
    ("/wo", "rk/"),
    ("/fa", "rm/"),
    ("/ro", "ot/"),
];

/// Lines past which a Rust file is told on, without failing.
const LONG: usize = 500;

/// Reads every file of the project. Skipped outside a git work tree, where what belongs to it is not known.
pub(crate) fn run(workplace: &Workplace) -> Outcome {
    let files = match project_files(&workplace.root) {
        Ok(files) => files,
        Err(why) => return Outcome::skipped(why),
    };
    let (mut broken, mut long) = (Vec::new(), Vec::new());
    for path in &files {
        // What is deleted but not yet committed cannot be read; what is no text is not ours to read.
        let Ok(text) = std::fs::read_to_string(workplace.root.join(path)) else {
            continue;
        };
        broken.extend(
            breaches(&text)
                .map(|(line, needle)| format!("{}:{line}: names {needle}", path.display())),
        );
        let lines = text.lines().count();
        if path.extension().is_some_and(|extension| extension == "rs") && lines > LONG {
            long.push(format!(
                "warning: {} has {lines} lines; would it still fit in a reader's head?",
                path.display()
            ));
        }
    }
    let said = Log::create(workplace, "rules").and_then(|mut log| {
        broken
            .iter()
            .chain(&long)
            .try_for_each(|line| log.say(line))
    });
    let seen = match long.len() {
        0 => format!("{} files", files.len()),
        count => format!("{} files, {count} over {LONG} lines", files.len()),
    };
    match said {
        Err(error) => Outcome::failed(error.to_string()),
        Ok(()) if broken.is_empty() => Outcome::passed(seen),
        Ok(()) => Outcome::failed(format!(
            "{} lines name what they must not ({seen})",
            broken.len()
        )),
    }
}

/// The files of the project, relative to its root: what git tracks, and what it would on the next `git add`.
pub(crate) fn project_files(root: &Path) -> Result<Vec<PathBuf>, String> {
    let output = std::process::Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .map_err(|error| format!("git does not start: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "git does not know this directory: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    let names = String::from_utf8_lossy(&output.stdout);
    Ok(names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .collect())
}

/// The lines, counted from one, that name what they must not.
fn breaches(text: &str) -> impl Iterator<Item = (usize, String)> {
    let needles = FORBIDDEN.map(|(head, tail)| format!("{head}{tail}"));
    text.lines().zip(1..).filter_map(move |(line, number)| {
        Some((
            number,
            needles
                .iter()
                .find(|needle| line.contains(needle.as_str()))?
                .clone(),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_needle_is_found_and_named() {
        for (head, tail) in FORBIDDEN {
            let text = format!("harmless\n  see {head}{tail}x");
            assert_eq!(
                breaches(&text).collect::<Vec<_>>(),
                [(2, format!("{head}{tail}"))]
            );
        }
        assert_eq!(
            breaches("from crates.io, npm and PyPI; a network/socket").count(),
            0
        );
    }

    #[test]
    fn this_file_is_among_the_projects_and_keeps_its_own_rule() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("the workspace");
        if let Ok(files) = project_files(root) {
            assert!(
                files.contains(&PathBuf::from("xtask/src/checks/house_rules.rs")),
                "{files:?}"
            );
        }
        assert_eq!(breaches(include_str!("house_rules.rs")).count(), 0);
    }
}
