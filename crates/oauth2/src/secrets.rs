//! Keeps the secrets of a request out of errors.

use std::collections::HashSet;
use std::error::Error as StdError;
use std::fmt;

use token_rotator::{Cause, ExposeSecret, SecretString, TokenSet};

/// This many characters of a secret in a row count as part of the secret, not as coincidence.
const PART_LENGTH: usize = 6;

/// A longer run of characters without a space is redacted: it may be a token that this client never
/// received. The limit still shows a UUID (36 characters), which the issuer's support may ask for.
const RUN_MAX: usize = 36;

/// At most this many characters of a text are examined.
const TEXT_MAX: usize = 4 * 1024;

/// At most this many characters of a text are shown.
const SHOWN_MAX: usize = 200;

const REDACTED: &str = "[redacted]";

/// Secrets that a request carried, which must not appear in an error: some issuers repeat tokens in
/// their descriptions.
///
/// The comparison ignores case and also covers the form-urlencoded spelling. Six characters of a
/// secret in a row count as a match.
#[derive(Clone, Default)]
pub struct Secrets {
    /// Lower case, with `?` for every character beyond printable ASCII. The compared texts have
    /// this form too.
    spellings: Vec<SecretString>,
}

impl Secrets {
    /// Returns an empty list of secrets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a secret.
    pub fn push(&mut self, secret: &SecretString) {
        let secret = secret.expose_secret();
        let encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        if encoded != secret {
            self.push_spelling(&encoded);
        }
        self.push_spelling(secret);
    }

    /// Returns the list with one more secret.
    pub fn with(mut self, secret: impl Into<SecretString>) -> Self {
        self.push(&secret.into());
        self
    }

    pub(crate) fn extend<'a>(&mut self, secrets: impl IntoIterator<Item = &'a SecretString>) {
        for secret in secrets {
            self.push(secret);
        }
    }

    /// Adds all tokens of a token set.
    pub fn push_tokens(&mut self, tokens: &TokenSet) {
        self.push(tokens.access_token());
        let others = [tokens.refresh_token(), tokens.id_token()];
        for token in others.into_iter().flatten() {
            self.push(token);
        }
    }

    /// Returns whether the text contains a secret or a part of a secret.
    pub fn occur_in(&self, text: &str) -> bool {
        self.marks(&plain(text, usize::MAX).to_ascii_lowercase())
            .contains(&true)
    }

    /// Returns whether the text contains a whole secret.
    pub(crate) fn occur_whole_in(&self, text: &str) -> bool {
        let text = plain(text, usize::MAX).to_ascii_lowercase();
        let mut spellings = self.spellings.iter();
        spellings.any(|secret| text.contains(secret.expose_secret()))
    }

    /// Returns the text in a form that may be shown: printable ASCII, at most 200 characters.
    /// `[redacted]` replaces every word that contains a part of a secret, and every word that is
    /// long enough to be a token.
    pub fn scrub(&self, text: &str) -> String {
        let mut text = plain(text, TEXT_MAX);
        if text.len() == TEXT_MAX {
            // The cut may leave too few characters of a secret to be recognised.
            text.truncate(text.rfind(' ').unwrap_or(0));
        }
        let marks = self.marks(&text.to_ascii_lowercase());
        let mut shown = String::new();
        let mut at = 0;
        for word in text.split_inclusive(' ') {
            let marks = &marks[at..at + word.len()];
            at += word.len();
            let bare = word.trim_end_matches(' ');
            let long = bare.split(is_separator).any(|run| run.len() > RUN_MAX);
            if !long && !marks.contains(&true) {
                shown.push_str(word);
            } else if !shown.trim_end().ends_with(REDACTED) {
                shown.push_str(REDACTED);
                shown.push_str(&word[bare.len()..]);
            }
        }
        let mut shown = shown.trim().to_owned();
        if shown.len() > SHOWN_MAX {
            shown.truncate(SHOWN_MAX - 3);
            shown.push_str("...");
        }
        shown
    }

    /// Returns the cause, or a placeholder if the text of the cause or of its sources contains a
    /// secret.
    pub(crate) fn vet(&self, cause: Cause) -> Cause {
        let mut at: Option<&(dyn StdError + 'static)> = Some(&*cause);
        while let Some(error) = at {
            if self.occur_in(&format!("{error} {error:?}")) {
                return std::sync::Arc::new(WithheldCause);
            }
            at = error.source();
        }
        cause
    }

    fn push_spelling(&mut self, spelling: &str) {
        if !spelling.is_empty() {
            let spelling = plain(spelling, usize::MAX).to_ascii_lowercase();
            self.spellings.push(spelling.into());
        }
    }

    /// Marks the bytes of the text that belong to a secret.
    fn marks(&self, text: &str) -> Vec<bool> {
        let text = text.as_bytes();
        let mut marks = vec![false; text.len()];
        for secret in &self.spellings {
            let secret = secret.expose_secret().as_bytes();
            let part = secret.len().min(PART_LENGTH);
            let parts: HashSet<_> = secret.windows(part).collect();
            for (at, window) in text.windows(part).enumerate() {
                if parts.contains(window) {
                    marks[at..at + part].fill(true);
                }
            }
        }
        marks
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Secrets").finish_non_exhaustive()
    }
}

/// Replaces a cause whose text contains a secret.
#[derive(Debug, thiserror::Error)]
#[error("the cause is withheld because its text contains a secret")]
struct WithheldCause;

/// Returns at most `max` characters, with a placeholder for each character beyond printable ASCII.
fn plain(text: &str, max: usize) -> String {
    let visible = |c: char| match c {
        ' '..='~' => c,
        _ if c.is_whitespace() => ' ',
        _ => '?',
    };
    text.chars().take(max).map(visible).collect()
}

/// Returns whether the character separates words and occurs in no token.
fn is_separator(c: char) -> bool {
    matches!(
        c,
        ':' | ',' | ';' | '"' | '\'' | '(' | ')' | '<' | '>' | '[' | ']' | '{' | '}' | '&' | '?'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        Secrets::new()
            .with("rt-4f9aX/kQ2+zW==")
            .with("correct horse battery")
            .with("pw1")
    }

    #[test]
    fn a_description_is_shown_without_what_was_sent() {
        let cases = [
            ("Token is not active", "Token is not active"),
            (
                "token rt-4f9aX/kQ2+zW== is stale",
                "token [redacted] is stale",
            ),
            ("token 'RT-4F9AX/KQ2+ZW=='.", "token [redacted]"),
            ("got rt-4f9aX%2FkQ2%2BzW%3D%3D.", "got [redacted]"),
            ("begins with rt-4f9...", "begins with [redacted]"),
            ("ends with 2+zW==", "ends with [redacted]"),
            ("correct horse battery is wrong", "[redacted] is wrong"),
            ("bad pw1", "bad [redacted]"),
            ("line\nbreak\u{7}\u{1b}[31m", "line break??[31m"),
            ("ungültig", "ung?ltig"),
            (
                "Trace ID: 0f8fad5b-d9cb-469f-a165-70867728950e",
                "Trace ID: 0f8fad5b-d9cb-469f-a165-70867728950e",
            ),
            (
                "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl unknown",
                "token [redacted] unknown",
            ),
        ];
        for (text, shown) in cases {
            assert_eq!(secrets().scrub(text), shown);
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let shown = secrets().scrub(&"word ".repeat(10_000));
        assert_eq!(shown.len(), SHOWN_MAX);
        assert!(shown.ends_with("..."));
        // The cut leaves five characters of the secret, too few to be recognised.
        let text = format!("{} rt-4f9aX/kQ2+zW==", "x".repeat(TEXT_MAX - 6));
        assert_eq!(secrets().scrub(&text), "[redacted]");
    }

    #[test]
    fn a_secret_of_punctuation_is_recognised_in_its_urlencoded_form() {
        let secrets = Secrets::new().with("+/=+/=+/=");
        let shown = secrets.scrub("got x=%2B%2F%3D%2B%2F%3D%2B%2F%3D");
        assert_eq!(shown, "got [redacted]");
    }

    #[test]
    fn a_cause_with_a_secret_is_withheld() {
        let vetted_text = |text: &str| {
            let cause: Box<dyn StdError + Send + Sync> = text.into();
            secrets().vet(cause.into()).to_string()
        };
        assert_eq!(vetted_text("connection refused"), "connection refused");
        assert!(!vetted_text("posting rt-4f9aX/kQ2+zW== failed").contains("rt-4"));
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", secrets()), "Secrets { .. }");
    }
}
