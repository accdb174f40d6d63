//! Every file, function and test that `ARCHITECTURE.md` and `docs/security.md` name exists.

use std::path::Path;

/// The pages, relative to the root of the project.
const PAGES: [&str; 2] = ["ARCHITECTURE.md", "docs/security.md"];

/// A problem for each name in the pages that the project does not have, and for a page without names.
pub(crate) fn problems(root: &Path) -> Vec<String> {
    PAGES
        .iter()
        .flat_map(|page| problems_of(root, page))
        .collect()
}

fn problems_of(root: &Path, page: &str) -> Vec<String> {
    let text = match std::fs::read_to_string(root.join(page)) {
        Ok(text) => text,
        Err(error) => return vec![format!("{page}: {error}")],
    };
    let names: Vec<(usize, Name<'_>)> = names(&text).collect();
    if names.is_empty() {
        return vec![format!("{page}: names no file")];
    }
    names
        .iter()
        .filter_map(|(line, name)| Some(format!("{page}:{line}: {}", name.problem(root)?)))
        .collect()
}

/// A path in the page, with the function behind its `::`, if there is one.
#[derive(Debug, PartialEq, Eq)]
struct Name<'a> {
    path: &'a str,
    function: Option<&'a str>,
}

impl Name<'_> {
    /// Returns the problem if the file does not exist or does not define the function.
    fn problem(&self, root: &Path) -> Option<String> {
        let path = root.join(self.path);
        let Some(function) = self.function else {
            return (!path.exists()).then(|| format!("{} does not exist", self.path));
        };
        let Ok(text) = std::fs::read_to_string(&path) else {
            return Some(format!("{} is no text file", self.path));
        };
        (!defines(&text, function)).then(|| format!("{} has no fn {function}", self.path))
    }
}

/// The names between backticks that hold a slash and no space, each with its line, counted from one.
fn names(text: &str) -> impl Iterator<Item = (usize, Name<'_>)> {
    text.lines().zip(1..).flat_map(|(line, number)| {
        line.split('`')
            .skip(1)
            .step_by(2)
            .filter(|code| code.contains('/') && !code.contains(char::is_whitespace))
            .map(move |code| {
                let name = match code.split_once("::") {
                    // `Type::method` is checked by the name of the method.
                    Some((path, function)) => Name {
                        path,
                        function: Some(function.rsplit("::").next().unwrap_or(function)),
                    },
                    None => Name {
                        path: code,
                        function: None,
                    },
                };
                (number, name)
            })
    })
}

/// True if the text defines the function: `fn NAME` with an end of the name behind it.
fn defines(text: &str, function: &str) -> bool {
    let start = format!("fn {function}");
    text.match_indices(&start).any(|(at, _)| {
        text[at + start.len()..].starts_with(|end: char| !end.is_alphanumeric() && end != '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("the workspace")
    }

    #[test]
    fn every_name_in_the_page_exists() {
        assert_eq!(problems(root()), Vec::<String>::new());
    }

    #[test]
    fn a_name_that_does_not_exist_is_a_problem() {
        let own = "xtask/src/checks/architecture.rs";
        for (code, problem) in [
            (own.to_owned(), None),
            ("xtask/src/checks/".to_owned(), None),
            (format!("{own}::Name::problem"), None),
            (format!("{own}::problems"), None),
            ("xtask/src/checks.rs::run".to_owned(), Some("has no fn run")),
            (
                "xtask/src/absent.rs".to_owned(),
                Some("xtask/src/absent.rs does not exist"),
            ),
            (
                "xtask/src/absent.rs::run".to_owned(),
                Some("is no text file"),
            ),
        ] {
            let text = format!("\nSee `{code}` and `tower` and `a / b`.");
            let found: Vec<_> = names(&text).collect();
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].0, 2);
            let answer = found[0].1.problem(root());
            match problem {
                None => assert_eq!(answer, None, "{code}"),
                Some(part) => {
                    assert!(
                        answer.is_some_and(|answer| answer.ends_with(part)),
                        "{code}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_missing_page_is_a_problem() {
        assert_eq!(problems(Path::new("/nowhere")).len(), PAGES.len());
    }
}
