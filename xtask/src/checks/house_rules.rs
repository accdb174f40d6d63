//! The rules that every file of the project keeps. No file names a registry's host or a path of one machine. No comment,
//! document or message uses a word that hides the actor. [`super::architecture`] adds the names in `ARCHITECTURE.md`.
//! A long Rust file is a warning.

use std::path::{Path, PathBuf};

use super::architecture;
use crate::{process::Log, report::Outcome, workspace::Workplace};

/// Texts that no file may contain. Each stands in two pieces, so that this file does not contain it.
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

/// Words that hide the actor of a sentence. Write caller, task, process, issuer, upstream, user or peer instead.
/// Each stands in two pieces, so that this file does not contain it.
const VAGUE: [(&str, &str); 4] = [
    ("some", "body"),
    ("no", "body"),
    ("who", "ever"),
    ("is t", "old"),
];

/// The kinds of files in which the words of [`VAGUE`] are searched.
const PROSE: [&str; 6] = ["rs", "ts", "md", "toml", "html", "json"];

/// The length in lines from which a Rust file is a warning.
const LONG: usize = 500;

/// Reads every file of the project. Skipped outside a git work tree, because git names the files.
pub(crate) fn run(workplace: &Workplace) -> Outcome {
    let files = match project_files(&workplace.root) {
        Ok(files) => files,
        Err(why) => return Outcome::skipped(why),
    };
    let (mut broken, mut long) = (architecture::problems(&workplace.root), Vec::new());
    for path in &files {
        // git lists files that are deleted but not committed, and files that are no text.
        let Ok(text) = std::fs::read_to_string(workplace.root.join(path)) else {
            continue;
        };
        broken.extend(
            breaches(&text)
                .map(|(line, needle)| format!("{}:{line}: contains {needle}", path.display())),
        );
        if is_prose(path) {
            broken.extend(vague_words(&text).map(|(line, word)| {
                format!("{}:{line}: name the actor, not {word:?}", path.display())
            }));
        }
        let lines = text.lines().count();
        if path.extension().is_some_and(|extension| extension == "rs") && lines > LONG {
            long.push(format!("warning: {} has {lines} lines", path.display()));
        }
    }
    let written = Log::create(workplace, "rules").and_then(|mut log| {
        broken
            .iter()
            .chain(&long)
            .try_for_each(|line| log.say(line))
    });
    let seen = match long.len() {
        0 => format!("{} files", files.len()),
        count => format!("{} files, {count} over {LONG} lines", files.len()),
    };
    match written {
        Err(error) => Outcome::failed(error.to_string()),
        Ok(()) if broken.is_empty() => Outcome::passed(seen),
        Ok(()) => Outcome::failed(format!("{} breaches of the rules ({seen})", broken.len())),
    }
}

/// The files of the project, relative to its root: those that git tracks, and those that the next `git add` would add.
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

/// The lines, counted from one, that contain a text of [`FORBIDDEN`], and that text.
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

/// True for the files that people write. Lock files and scenarios are data: the scenarios are compared byte for byte.
fn is_prose(path: &Path) -> bool {
    let data = path.starts_with("scenarios")
        && path
            .extension()
            .is_some_and(|extension| extension == "json");
    let lock = path
        .file_name()
        .is_some_and(|name| name == "package-lock.json");
    !data
        && !lock
        && path
            .extension()
            .is_some_and(|extension| PROSE.iter().any(|known| extension == *known))
}

/// The lines, counted from one, that use a word of [`VAGUE`] in any case, and that word.
fn vague_words(text: &str) -> impl Iterator<Item = (usize, String)> {
    let vague = VAGUE.map(|(head, tail)| format!("{head}{tail}"));
    text.lines().zip(1..).filter_map(move |(line, number)| {
        let line = line.to_lowercase();
        let word = vague.iter().find(|word| has_word(&line, word))?;
        Some((number, word.clone()))
    })
}

/// True if the word stands in the line and no letter, digit or underscore touches it.
fn has_word(line: &str, word: &str) -> bool {
    let part = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word).any(|(start, _)| {
        !line[..start].ends_with(part) && !line[start + word.len()..].starts_with(part)
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
    fn each_vague_word_is_found_in_any_case() {
        for (head, tail) in VAGUE {
            let word = format!("{head}{tail}");
            for written in [word.clone(), word.to_uppercase(), format!("`{word}`")] {
                let text = format!("// A caller.\n// So {written}, then.");
                assert_eq!(
                    vague_words(&text).collect::<Vec<_>>(),
                    [(2, word.clone())],
                    "{text}"
                );
            }
            let inside = format!("let x{word} = {word}_x; {word}s();");
            assert_eq!(vague_words(&inside).count(), 0, "{inside}");
        }
    }

    #[test]
    fn data_is_not_prose() {
        for (path, prose) in [
            ("crates/core/src/lib.rs", true),
            ("scenarios/README.md", true),
            ("npm/axios/package.json", true),
            ("scenarios/late-401.json", false),
            ("npm/axios/package-lock.json", false),
            ("Cargo.lock", false),
        ] {
            assert_eq!(is_prose(Path::new(path)), prose, "{path}");
        }
    }

    #[test]
    fn this_file_belongs_to_the_project_and_keeps_its_own_rules() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("the workspace");
        if let Ok(files) = project_files(root) {
            assert!(
                files.contains(&PathBuf::from("xtask/src/checks/house_rules.rs")),
                "{files:?}"
            );
        }
        let text = include_str!("house_rules.rs");
        assert_eq!(breaches(text).count(), 0);
        assert_eq!(vague_words(text).count(), 0);
    }
}
