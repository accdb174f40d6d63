//! Every sentence of every error is in a snapshot, so that a reviewer sees its whole text. Every
//! snapshot of an error has a cause and a hint.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Beginnings of texts in functions with errors that are no messages.
const NO_MESSAGES: [&str; 6] = [
    // Into files, to other programs and to browsers.
    "# Written by `token-rotator login`; it holds no secret.",
    "Authorization: Bearer ",
    "username={user}",
    "default-src 'none'",
    // Data of the demo.
    "each client refreshes on its own",
    "page    {page}",
];

/// Macros whose texts are no errors, or are meant for programmers.
const SKIPPED_MACROS: [&str; 3] = ["say", "info", "unreachable"];

/// Functions that return or create one of these types contain the messages for users.
const ERRORS: [&str; 2] = ["CommandError", "Finding"];

#[test]
fn every_sentence_of_every_error_is_in_a_snapshot() {
    let snapshots = Snapshots::read();
    let (mut found_sentences, mut missing) = (BTreeSet::new(), Vec::new());
    for file in files(&folder("src"), "rs") {
        let text = std::fs::read_to_string(&file).expect("a source");
        let tokens = text.parse().expect("Rust");
        let mut sentences = Sentences::default();
        sentences.of_items(tokens, false);
        for (function, sentence) in sentences.found {
            let location = file.strip_prefix(folder("src")).expect("a file in src");
            match snapshots.containing(&sentence) {
                Some(snapshot) => {
                    println!(
                        "{} {function}: {sentence}\n    {snapshot}",
                        location.display()
                    );
                    found_sentences.insert(sentence);
                }
                None => missing.push(format!("{} {function}: {sentence}", location.display())),
            }
        }
    }
    let (count, missing) = (missing.len(), missing.join("\n"));
    assert_eq!(count, 0, "no snapshot has these sentences:\n{missing}");
    // A search that finds no sentences would report none missing.
    assert!(
        found_sentences.len() > 150,
        "{} sentences were found",
        found_sentences.len()
    );
}

#[test]
fn every_error_has_a_cause_and_a_hint() {
    let mut errors = 0;
    for (snapshot, text) in Snapshots::read().0 {
        let lines: Vec<_> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            if !line.starts_with("error: ") && !line.starts_with("warning: ") {
                continue;
            }
            let more: Vec<_> = lines[number + 1..]
                .iter()
                .take_while(|line| !line.starts_with("error: ") && !line.starts_with("warning: "))
                .collect();
            // An error of clap has its cause in the same line.
            if more
                .iter()
                .any(|line| line.starts_with("For more information"))
            {
                continue;
            }
            errors += 1;
            let is = |begin: &str| more.iter().any(|line| line.starts_with(begin));
            assert!(is("  because "), "no cause in {snapshot}: {line}");
            assert!(is("hint: "), "no hint in {snapshot}: {line}");
        }
    }
    assert!(errors > 80, "{errors} errors were found");
}

/// The inline snapshots of this crate: file and function, and the text.
struct Snapshots(Vec<(String, String)>);

impl Snapshots {
    fn read() -> Self {
        let mut snapshots = Self(Vec::new());
        for file in ["src", "tests"]
            .map(folder)
            .iter()
            .flat_map(|folder| files(folder, "rs"))
        {
            let text = std::fs::read_to_string(&file).expect("a source");
            let location = file.strip_prefix(folder("")).expect("a file of this crate");
            snapshots.add(&location.display().to_string(), text.parse().expect("Rust"));
        }
        snapshots
    }

    /// Adds the text of every `assert_snapshot!(value, @"text")` in these tokens.
    fn add(&mut self, location: &str, tokens: TokenStream) {
        let mut location = location.to_owned();
        let mut before = [String::new(), String::new()];
        for token in tokens {
            if before[1] == "fn" {
                let (file, _) = location.split_once(' ').unwrap_or((&location, ""));
                location = format!("{file} {token}");
            }
            if let TokenTree::Group(group) = &token {
                if before == ["assert_snapshot", "!"] {
                    let arguments: Vec<_> = group.stream().into_iter().collect();
                    // These tests do not read snapshots in files of their own.
                    let [.., TokenTree::Punct(at), TokenTree::Literal(text)] = &arguments[..]
                    else {
                        panic!("a snapshot in {location} has no inline text");
                    };
                    assert_eq!(
                        at.as_char(),
                        '@',
                        "a snapshot in {location} has no inline text"
                    );
                    self.0
                        .push((location.clone(), snapshot_text(&text.to_string())));
                } else {
                    self.add(&location, group.stream());
                }
            }
            before = [std::mem::take(&mut before[1]), token.to_string()];
        }
    }

    /// Returns the first snapshot with a line that contains this sentence as a whole.
    fn containing(&self, sentence: &str) -> Option<&str> {
        let parts = parts(sentence);
        let (open, ends) = (sentence.starts_with('{'), sentence.ends_with('}'));
        let contains_sentence = |line: &str| {
            let begins = line.match_indices(parts[0].as_str());
            begins.into_iter().any(|(at, _)| {
                let before = &line[..at];
                let begins =
                    open || before.is_empty() || BEFORE.iter().any(|end| before.ends_with(end));
                let rest = parts.iter().try_fold(&line[at..], |line, part| {
                    line.split_once(part.as_str()).map(|(_, rest)| rest)
                });
                begins
                    && rest.is_some_and(|rest| ends || rest.is_empty() || rest.starts_with(AFTER))
            })
        };
        let found = self
            .0
            .iter()
            .find(|(_, text)| text.lines().any(contains_sentence));
        found.map(|(name, _)| name.as_str())
    }
}

/// The texts before a sentence and the characters after it, besides the start and the end of a line.
const BEFORE: [&str; 4] = [": ", "; ", "because ", ". "];
const AFTER: [char; 3] = [':', ';', ','];

/// Returns the fixed parts of a format string, between its arguments.
fn parts(sentence: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in sentence.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            c if depth == 0 => parts.last_mut().expect("one").push(c),
            _ => continue,
        }
        if depth == 1 && c == '{' {
            parts.push(String::new());
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// The sentences in functions with errors, each with the name of its function.
#[derive(Default)]
struct Sentences {
    found: Vec<(String, String)>,
}

impl Sentences {
    /// Collects the sentences of items. `for_error` is `true` inside `impl ... for` one of the errors,
    /// where `Self` is the error.
    fn of_items(&mut self, tokens: TokenStream, for_error: bool) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            let end = |from: usize| {
                let braces = |token: &TokenTree| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
                let semicolon = |token: &TokenTree| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ';');
                let rest = tokens[from..].iter();
                let length = rest
                    .take_while(|token| !braces(token) && !semicolon(token))
                    .count();
                from + length
            };
            let TokenTree::Ident(keyword) = &tokens[at] else {
                at += 1;
                continue;
            };
            let (keyword, stop) = (keyword.to_string(), end(at));
            let head: Vec<_> = tokens[at..stop].iter().map(ToString::to_string).collect();
            let is_test = head == ["mod", "tests"];
            match (keyword.as_str(), tokens.get(stop)) {
                ("mod" | "impl", Some(TokenTree::Group(body))) if !is_test => {
                    let target = head.iter().skip_while(|keyword| *keyword != "for");
                    let for_error = target
                        .into_iter()
                        .any(|keyword| ERRORS.contains(&keyword.as_str()));
                    self.of_items(body.stream(), for_error);
                }
                ("fn", Some(TokenTree::Group(body))) => {
                    let arrow = head.windows(2).position(|two| two == ["-", ">"]);
                    let return_type = arrow.map_or(&head[..0], |arrow| &head[arrow..]);
                    let returns = |name: &str| return_type.iter().any(|keyword| keyword == name);
                    let creates = |name: &&str| body.to_string().contains(name);
                    let has_messages = returns("Result") && returns("String")
                        || for_error && returns("Self")
                        || ERRORS.iter().any(|name| returns(name) || creates(name));
                    if has_messages {
                        self.of_body(&head[1], body.stream());
                    }
                }
                ("const", Some(_)) if head.contains(&"str".to_owned()) => {
                    let value = tokens[at..stop].iter().cloned().collect();
                    self.of_body(&head[1], value);
                }
                _ => {
                    at += 1;
                    continue;
                }
            }
            at = stop + 1;
        }
    }

    fn of_body(&mut self, function: &str, tokens: TokenStream) {
        let mut before = [String::new(), String::new()];
        for token in tokens {
            match &token {
                // Skips attributes and the macros without errors.
                TokenTree::Group(_)
                    if before[1] == "#"
                        || before[1] == "expect"
                        || before[1] == "!" && SKIPPED_MACROS.contains(&before[0].as_str()) => {}
                TokenTree::Group(group) => self.of_body(function, group.stream()),
                TokenTree::Literal(literal) => {
                    let text = unescaped(&literal.to_string());
                    let is_message = !NO_MESSAGES.iter().any(|begin| text.starts_with(begin));
                    if let Some(text) = Some(text).filter(|text| is_message && is_sentence(text)) {
                        self.found.push((function.to_owned(), text));
                    }
                }
                _ => {}
            }
            before = [std::mem::take(&mut before[1]), token.to_string()];
        }
    }
}

/// Returns whether a text has at least three words, two of them outside the format arguments.
fn is_sentence(text: &str) -> bool {
    let fixed_text = parts(text).concat();
    text.split_whitespace().count() > 2 && fixed_text.split_whitespace().count() > 1
}

/// Returns the text of an inline snapshot, without its quotes and without indentation.
fn snapshot_text(literal: &str) -> String {
    let text = match literal.strip_prefix('r') {
        Some(raw) => {
            let quoted = raw.trim_matches('#').strip_prefix('"');
            let text = quoted.and_then(|text| text.strip_suffix('"'));
            text.expect("a raw string").to_owned()
        }
        None => unescaped(literal),
    };
    // The first line is beside the quote and has no indentation.
    let indented = text.lines().skip(1).filter(|line| !line.trim().is_empty());
    let indentation = indented
        .map(|line| line.len() - line.trim_start().len())
        .min();
    let lines = text
        .lines()
        .map(|line| line.get(indentation.unwrap_or(0)..).unwrap_or(""));
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the value of a string literal. Returns an empty text for other literals.
fn unescaped(literal: &str) -> String {
    let inner = literal
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let (mut text, mut chars) = (String::new(), inner.unwrap_or_default().chars().peekable());
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            // A line continuation.
            ('\\', Some('\n')) => while chars.next_if(|c| c.is_whitespace()).is_some() {},
            ('\\', Some('n')) => {
                chars.next();
                text.push('\n');
            }
            ('\\', Some(_)) => text.extend(chars.next()),
            _ => text.push(c),
        }
    }
    text.trim_end().to_owned()
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Returns all files below the folder with this extension, sorted.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).expect("a folder");
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "node_modules") {
            found.extend(files(&path, ending));
        } else if path
            .extension()
            .is_some_and(|extension| extension == ending)
        {
            found.push(path);
        }
    }
    found.sort();
    found
}
