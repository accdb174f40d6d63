//! The counts of an act, and their ranges over all rounds.

use std::fmt;

/// One act of one proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tokens that ended.
    ends: u32,
    requests: u64,
    refused: u64,
    /// Answers other than 200 and 401, and calls without an answer.
    failed: u64,
    /// Requests to the token endpoint.
    pub(crate) token_calls: u64,
    /// Refresh tokens that the token endpoint received a second time.
    pub(crate) reuses: u64,
    /// True if a caller is served after the last token has expired.
    pub(crate) alive: bool,
}

impl Tally {
    /// Creates the counts of an act in which this number of tokens ends.
    pub(crate) fn of(ends: u32) -> Self {
        Self {
            ends,
            ..Self::default()
        }
    }

    /// Counts the answers of callers. `None` is a call without an answer.
    pub(crate) fn count(&mut self, answers: &[Option<u16>]) {
        self.requests += answers.len() as u64;
        for answer in answers {
            match answer {
                Some(200) => {}
                Some(401) => self.refused += 1,
                _ => self.failed += 1,
            }
        }
    }

    /// Returns the breaches: a caller with an error, more or fewer token calls than tokens that ended, a lost session.
    pub(crate) fn flaw(&self) -> Option<String> {
        let perfect = Self {
            ends: self.ends,
            requests: self.requests,
            token_calls: self.ends.into(),
            alive: true,
            ..Self::default()
        };
        (*self != perfect || self.requests == 0).then(|| self.to_string())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} calls at {} ends, {} saw a 401, {} another error, {} token calls, {} reuses, session {}",
            self.requests,
            self.ends,
            self.refused,
            self.failed,
            self.token_calls,
            self.reuses,
            if self.alive { "alive" } else { "dead" }
        )
    }
}

/// A row of the table with ranges over the rounds.
pub(crate) fn row(name: String, rounds: &[Tally]) -> [String; 7] {
    let range = |of: fn(&Tally) -> u64| {
        let least = rounds.iter().map(of).min().unwrap_or(0);
        let most = rounds.iter().map(of).max().unwrap_or(0);
        if least == most {
            most.to_string()
        } else {
            format!("{least} to {most}")
        }
    };
    let alive = rounds.iter().filter(|round| round.alive).count();
    [
        name,
        range(|round| round.requests),
        range(|round| round.refused),
        range(|round| round.failed),
        range(|round| round.token_calls),
        range(|round| round.reuses),
        format!("{alive} of {}", rounds.len()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn perfect() -> Tally {
        let mut tally = Tally::of(2);
        tally.count(&[Some(200); 4]);
        tally.token_calls = 2;
        tally.alive = true;
        tally
    }

    #[test]
    fn one_flaw_is_told() {
        assert_eq!(perfect().flaw(), None);
        let flawed = |change: fn(&mut Tally)| {
            let mut tally = perfect();
            change(&mut tally);
            tally.flaw().unwrap_or_default()
        };
        let told = [
            (flawed(|tally| tally.count(&[Some(401)])), "1 saw a 401"),
            (flawed(|tally| tally.count(&[Some(502)])), "1 another error"),
            (flawed(|tally| tally.count(&[None])), "1 another error"),
            (flawed(|tally| tally.token_calls = 3), "3 token calls"),
            (flawed(|tally| tally.token_calls = 1), "1 token calls"),
            (flawed(|tally| tally.reuses = 1), "1 reuses"),
            (flawed(|tally| tally.alive = false), "session dead"),
            (flawed(|tally| tally.requests = 0), "0 calls"),
        ];
        for (flaw, word) in told {
            assert!(flaw.contains(word), "{flaw:?} tells no {word}");
        }
    }

    #[test]
    fn rounds_become_ranges() {
        let mut worse = perfect();
        worse.count(&[Some(401), Some(302)]);
        worse.alive = false;
        let cells = row("x".to_owned(), &[worse, perfect()]);
        assert_eq!(
            cells,
            ["x", "4 to 6", "0 to 1", "0 to 1", "2", "0", "1 of 2"]
        );
    }
}
