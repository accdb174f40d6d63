//! `cargo xtask comments --seed N [--count 40]`: a random sample of the project's comments, for a reader who checks them.
//!
//! One seed draws the same comments from the same sources, on every machine. Each comment of the Rust and TypeScript
//! files has the same chance. Consecutive line comments of one kind (`//`, `///`, `//!`) are one comment.

use std::{path::Path, process::ExitCode};

use crate::{checks::house_rules::project_files, workspace::Workplace};

/// How many comments a sample has unless `--count` says otherwise.
const COUNT: usize = 40;

/// The task of the command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    seed: u64,
    count: usize,
}

impl Sample {
    /// Reads `--seed N` and `--count N`. Errors: no seed, an unknown argument, a value that is no number.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let (mut seed, mut count) = (None, COUNT);
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let (name, inline) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (argument.as_str(), None),
            };
            let mut value = || {
                inline
                    .or_else(|| arguments.next().map(String::as_str))
                    .ok_or_else(|| format!("{name} needs a number"))
            };
            let number = |value: &str| format!("{name} {value} is no number");
            match name {
                "--seed" => {
                    let value = value()?;
                    seed = Some(value.parse().map_err(|_| number(value))?);
                }
                "--count" => {
                    let value = value()?;
                    count = value.parse().map_err(|_| number(value))?;
                }
                _ => return Err(format!("unknown argument: {argument}")),
            }
        }
        let seed = seed.ok_or("comments needs --seed N, as in `cargo xtask comments --seed 1`")?;
        Ok(Self { seed, count })
    }

    /// Prints the sample in the order of files and lines, each comment below its `file:line`.
    pub(crate) fn run(&self, workplace: &Workplace) -> Result<ExitCode, String> {
        let all = all_comments(&workplace.root)?;
        let total = all.len();
        let drawn = draw(all, self.seed, self.count);
        for Comment { file, line, text } in &drawn {
            println!("{file}:{line}\n{text}\n");
        }
        eprintln!("{} of {total} comments, seed {}", drawn.len(), self.seed);
        Ok(ExitCode::SUCCESS)
    }
}

/// A comment and its place: ordered by file, then by line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Comment {
    file: String,
    line: usize,
    text: String,
}

fn all_comments(root: &Path) -> Result<Vec<Comment>, String> {
    let mut files = project_files(root)?;
    files.sort();
    let mut all = Vec::new();
    for path in files {
        let Some(language) = Language::of(&path) else {
            continue;
        };
        // git lists files that are deleted but not committed.
        let Ok(text) = std::fs::read_to_string(root.join(&path)) else {
            continue;
        };
        let file = path.display().to_string();
        all.extend(
            comments(&text, language)
                .into_iter()
                .map(|(line, text)| Comment {
                    file: file.clone(),
                    line,
                    text,
                }),
        );
    }
    Ok(all)
}

/// Draws without replacement (the first steps of a Fisher-Yates shuffle), and sorts what it drew.
fn draw(mut all: Vec<Comment>, seed: u64, count: usize) -> Vec<Comment> {
    let mut random = Random(seed);
    let count = count.min(all.len());
    for chosen in 0..count {
        let rest = all.len() - chosen;
        all.swap(chosen, chosen + random.below(rest));
    }
    all.truncate(count);
    all.sort();
    all
}

/// `SplitMix64`: a few lines, and the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`. The high half of a wide product is even to within `end` in 2^64.
    fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Rust,
    TypeScript,
}

impl Language {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "rs" => Some(Self::Rust),
            "ts" | "tsx" | "mts" => Some(Self::TypeScript),
            _ => None,
        }
    }
}

/// Returns the comments of a source text, each with the number of its first line, counted from one.
fn comments(text: &str, language: Language) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    // The last line comment: its last line, its kind, and whether code stands before it.
    let mut last: Option<(usize, &str, bool)> = None;
    let mut scanner = Scanner {
        rest: text,
        line: 1,
        code_before: None,
        code_in_line: false,
    };
    while let Some(token) = scanner.next(language) {
        let Token {
            line,
            comment,
            after_code,
        } = token;
        if comment.starts_with("/*") {
            found.push((line, comment.to_owned()));
            last = None;
            continue;
        }
        let kind = kind(comment);
        let continues = last.is_some_and(|(last_line, last_kind, last_after_code)| {
            last_line + 1 == line && last_kind == kind && !last_after_code && !after_code
        });
        let comment = comment.trim_end();
        match found.last_mut().filter(|_| continues) {
            Some((_, block)) => {
                block.push('\n');
                block.push_str(comment);
            }
            None => found.push((line, comment.to_owned())),
        }
        last = Some((line, kind, after_code));
    }
    found
}

/// `//!`, `///` or `//`: comments of different kinds on consecutive lines are different comments.
fn kind(comment: &str) -> &'static str {
    if comment.starts_with("//!") {
        "//!"
    } else if comment.starts_with("///") && !comment.starts_with("////") {
        "///"
    } else {
        "//"
    }
}

/// A comment and where it stands.
struct Token<'a> {
    line: usize,
    comment: &'a str,
    after_code: bool,
}

/// Walks a source text, steps over its literals and stops at its comments.
struct Scanner<'a> {
    rest: &'a str,
    line: usize,
    /// The last character of code: decides whether a slash of TypeScript divides or begins a regular expression.
    code_before: Option<char>,
    code_in_line: bool,
}

impl<'a> Scanner<'a> {
    fn next(&mut self, language: Language) -> Option<Token<'a>> {
        while let Some(character) = self.rest.chars().next() {
            if self.rest.starts_with("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                return Some(self.comment(end));
            }
            if self.rest.starts_with("/*") {
                let end = block_end(self.rest, language == Language::Rust);
                return Some(self.comment(end));
            }
            let length = match language {
                Language::Rust => rust_literal(self.rest, self.code_before),
                Language::TypeScript => typescript_literal(self.rest, self.code_before),
            };
            if character == '\n' || !character.is_whitespace() {
                self.code_in_line = character != '\n';
            }
            if !character.is_whitespace() {
                self.code_before = Some(character);
            }
            self.skip(length.unwrap_or(character.len_utf8()));
        }
        None
    }

    fn comment(&mut self, end: usize) -> Token<'a> {
        let token = Token {
            line: self.line,
            comment: &self.rest[..end],
            after_code: self.code_in_line,
        };
        self.skip(end);
        token
    }

    fn skip(&mut self, length: usize) {
        let (skipped, rest) = self.rest.split_at(length);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }
}

/// The length of a block comment. Those of Rust nest.
fn block_end(text: &str, nests: bool) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") && (depth == 0 || nests) {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of the string or character literal that begins the text, if one does.
fn rust_literal(text: &str, before: Option<char>) -> Option<usize> {
    if text.starts_with('"') {
        return Some(quoted(text, '"', true));
    }
    if let Some(after) = text.strip_prefix('\'') {
        let mut characters = after.chars();
        // A lifetime has no closing quote behind its first character.
        return match characters.next()? {
            '\\' => Some(quoted(text, '\'', false)),
            first if characters.next() == Some('\'') => Some(2 + first.len_utf8()),
            _ => None,
        };
    }
    let part_of_a_name = before.is_some_and(|before| before.is_alphanumeric() || before == '_');
    let hashes = text.strip_prefix('r')?;
    let marks = hashes.len() - hashes.trim_start_matches('#').len();
    // `br"..."`: the `b` is read as code before it.
    if (part_of_a_name && before != Some('b')) || !hashes[marks..].starts_with('"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(marks));
    let start = 1 + marks + 1;
    let length = text[start..].find(&end).map(|found| found + end.len());
    Some(length.map_or(text.len(), |length| start + length))
}

/// The length of the string, template or regular expression that begins the text, if one does. An expression inside a
/// template is part of it.
fn typescript_literal(text: &str, before: Option<char>) -> Option<usize> {
    match text.chars().next()? {
        quote @ ('"' | '\'') => Some(quoted(text, quote, false)),
        '`' => Some(quoted(text, '`', true)),
        // Behind a value, a slash divides.
        '/' if before.is_none_or(|before| "(,=:[!&|?{};>".contains(before)) => {
            let mut in_class = false;
            let mut escaped = false;
            for (at, character) in text.char_indices().skip(1) {
                match character {
                    '\n' => return None,
                    _ if escaped => escaped = false,
                    '\\' => escaped = true,
                    '[' => in_class = true,
                    ']' => in_class = false,
                    '/' if !in_class => return Some(at + 1),
                    _ => {}
                }
            }
            None
        }
        _ => None,
    }
}

/// The length of a literal between two quotes; it ends with its line unless it may hold several.
fn quoted(text: &str, quote: char, lines: bool) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' if !lines => return at,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Sample, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Sample::parse(&arguments)
    }

    #[test]
    fn the_command_line_needs_a_seed() {
        assert_eq!(parse("--seed 7"), Ok(Sample { seed: 7, count: 40 }));
        assert_eq!(
            parse("--count=3 --seed=7"),
            Ok(Sample { seed: 7, count: 3 })
        );
        for (line, part) in [
            ("", "--seed"),
            ("--seed", "--seed"),
            ("--seed x", "x"),
            ("--seed 1 --count -1", "-1"),
            ("--seed 1 --fast", "--fast"),
        ] {
            let problem = parse(line).expect_err(line);
            assert!(problem.contains(part), "{problem}");
        }
    }

    fn found(text: &str, language: Language) -> Vec<(usize, String)> {
        comments(text, language)
    }

    #[test]
    fn comments_of_rust() {
        let text = "//! Module,\n//! two lines.\n\n// Reason.\n/// Item.\nfn one<'a>() { // trailing\n    // own\n    \
                    let url = \"https://x//y\"; let raw = br#\"// \"no\" //\"#; let quote = '\"'; let escape = '\\'';\n    \
                    let word = for_r; // end\n}\n/* block /* nested */ // inside */\n//// rule\n";
        let expected = [
            (1, "//! Module,\n//! two lines."),
            (4, "// Reason."),
            (5, "/// Item."),
            (6, "// trailing"),
            (7, "// own"),
            (9, "// end"),
            (11, "/* block /* nested */ // inside */"),
            (12, "//// rule"),
        ]
        .map(|(line, comment)| (line, comment.to_owned()));
        assert_eq!(found(text, Language::Rust), expected);
    }

    #[test]
    fn comments_of_typescript() {
        let text = "/** Doc\n * of two lines */\nconst a = 'it\\'s // no'; // one\nconst b = `// no\n${c} // no`;\n\
                    const d = /[/\"]\\/\\//.test(e) / 2; // two\nconst f = g / 2; // three's\n";
        let expected = [
            (1, "/** Doc\n * of two lines */"),
            (3, "// one"),
            (6, "// two"),
            (7, "// three's"),
        ]
        .map(|(line, comment)| (line, comment.to_owned()));
        assert_eq!(found(text, Language::TypeScript), expected);
    }

    fn numbered(count: usize) -> Vec<Comment> {
        (1..=count)
            .map(|line| Comment {
                file: "a.rs".to_owned(),
                line,
                text: String::new(),
            })
            .collect()
    }

    #[test]
    fn a_seed_draws_the_same_comments_and_no_comment_twice() {
        let drawn = draw(numbered(1000), 3, 40);
        assert_eq!(drawn, draw(numbered(1000), 3, 40));
        assert_ne!(drawn, draw(numbered(1000), 4, 40));
        let mut lines: Vec<usize> = drawn.iter().map(|comment| comment.line).collect();
        lines.dedup();
        assert_eq!(lines.len(), 40);
        assert!(lines.is_sorted());
        assert_eq!(draw(numbered(3), 1, 40), numbered(3));
    }

    #[test]
    fn each_comment_has_the_same_chance() {
        let mut drawn = [0_u32; 10];
        for seed in 0..10_000 {
            for comment in draw(numbered(10), seed, 3) {
                drawn[comment.line - 1] += 1;
            }
        }
        // 3,000 expected for each; 150 is more than three standard deviations.
        for (line, times) in drawn.iter().enumerate() {
            assert!(times.abs_diff(3_000) < 150, "line {line}: {times}");
        }
    }
}
