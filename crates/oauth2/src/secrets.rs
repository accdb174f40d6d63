//! What was sent and must not come back in an error.

use std::collections::HashSet;
use std::error::Error as StdError;
use std::fmt;

use token_rotator::{Cause, ExposeSecret, SecretString, TokenSet};

/// So many characters in a row of a secret are part of it, and not there by chance.
const PART: usize = 6;

/// A longer run of characters without a blank is shown to nobody: it may be a token that was never
/// ours. An identifier to give to the issuer's support (a UUID has 36) may be no longer.
const RUN_MAX: usize = 36;

/// So much of a text is looked at.
const TEXT_MAX: usize = 4 * 1024;

/// So much of it is shown.
const SHOWN_MAX: usize = 200;

const REDACTED: &str = "[redacted]";

/// What was sent and must not come back in an error: issuers repeat tokens in their descriptions.
///
/// A text is compared without regard to case and in its form-urlencoded spelling too; six
/// characters in a row of a secret are enough.
#[derive(Clone, Default)]
pub struct Secrets {
    /// Lower case, every character beyond printable ASCII a `?`, as in the texts compared.
    spellings: Vec<SecretString>,
}

impl Secrets {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more.
    pub fn push(&mut self, secret: &SecretString) {
        let secret = secret.expose_secret();
        let encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        if encoded != secret {
            self.push_spelling(&encoded);
        }
        self.push_spelling(secret);
    }

    /// With one more.
    pub fn with(mut self, secret: impl Into<SecretString>) -> Self {
        self.push(&secret.into());
        self
    }

    pub(crate) fn extend<'a>(&mut self, secrets: impl IntoIterator<Item = &'a SecretString>) {
        for secret in secrets {
            self.push(secret);
        }
    }

    /// All tokens of a token set.
    pub fn push_tokens(&mut self, tokens: &TokenSet) {
        self.push(tokens.access_token());
        let others = [tokens.refresh_token(), tokens.id_token()];
        for token in others.into_iter().flatten() {
            self.push(token);
        }
    }

    /// Whether there is a secret or a part of one in the text.
    pub fn touch(&self, text: &str) -> bool {
        self.marks(&plain(text, usize::MAX).to_ascii_lowercase())
            .contains(&true)
    }

    /// Whether there is a whole secret in the text.
    pub(crate) fn stand_in(&self, text: &str) -> bool {
        let text = plain(text, usize::MAX).to_ascii_lowercase();
        let mut spellings = self.spellings.iter();
        spellings.any(|secret| text.contains(secret.expose_secret()))
    }

    /// The text fit to be shown: printable ASCII, at most 200 characters, `[redacted]` for every
    /// word with a part of a secret in it and for every word that is long enough to be a token.
    pub fn scrub(&self, text: &str) -> String {
        let mut text = plain(text, TEXT_MAX);
        if text.len() == TEXT_MAX {
            // The cut may have left too little of a secret to be recognised.
            text.truncate(text.rfind(' ').unwrap_or(0));
        }
        let marks = self.marks(&text.to_ascii_lowercase());
        let mut shown = String::new();
        let mut at = 0;
        for word in text.split_inclusive(' ') {
            let marks = &marks[at..at + word.len()];
            at += word.len();
            let bare = word.trim_end_matches(' ');
            let long = bare.split(is_between).any(|run| run.len() > RUN_MAX);
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

    /// The cause, unless it, or one behind it, would show a secret.
    pub(crate) fn vet(&self, cause: Cause) -> Cause {
        let mut at: Option<&(dyn StdError + 'static)> = Some(&*cause);
        while let Some(error) = at {
            if self.touch(&format!("{error} {error:?}")) {
                return std::sync::Arc::new(Withheld);
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

    /// Which bytes of the text belong to a secret.
    fn marks(&self, text: &str) -> Vec<bool> {
        let text = text.as_bytes();
        let mut marks = vec![false; text.len()];
        for secret in &self.spellings {
            let secret = secret.expose_secret().as_bytes();
            let part = secret.len().min(PART);
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

/// Stands in for a cause that showed a secret.
#[derive(Debug, thiserror::Error)]
#[error("the cause is withheld, for there is a secret in its text")]
struct Withheld;

/// At most so many characters, those beyond printable ASCII replaced.
fn plain(text: &str, max: usize) -> String {
    let visible = |c: char| match c {
        ' '..='~' => c,
        _ if c.is_whitespace() => ' ',
        _ => '?',
    };
    text.chars().take(max).map(visible).collect()
}

/// What stands between words, and in no token.
fn is_between(c: char) -> bool {
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
        // The cut leaves five characters of the secret, which nobody would recognise.
        let text = format!("{} rt-4f9aX/kQ2+zW==", "x".repeat(TEXT_MAX - 6));
        assert_eq!(secrets().scrub(&text), "[redacted]");
    }

    #[test]
    fn a_secret_of_signs_is_recognised_in_the_form_it_was_sent_in() {
        let secrets = Secrets::new().with("+/=+/=+/=");
        let shown = secrets.scrub("got x=%2B%2F%3D%2B%2F%3D%2B%2F%3D");
        assert_eq!(shown, "got [redacted]");
    }

    #[test]
    fn a_cause_with_a_secret_is_withheld() {
        let told = |text: &str| {
            let cause: Box<dyn StdError + Send + Sync> = text.into();
            secrets().vet(cause.into()).to_string()
        };
        assert_eq!(told("connection refused"), "connection refused");
        assert!(!told("posting rt-4f9aX/kQ2+zW== failed").contains("rt-4"));
    }

    #[test]
    fn debug_shows_none() {
        assert_eq!(format!("{:?}", secrets()), "Secrets { .. }");
    }
}
