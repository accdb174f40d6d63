//! The files in `scenarios/`: read, played, and written again with the answers that were given.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::to_string;

use super::events::{Answer, Event, Rules, Served};
use super::generate::World;
use super::run::Run;

/// One history. What the file says of the answers is not read: the whole file is compared.
#[derive(Debug, Deserialize)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) why: String,
    policy: Rules,
    events: Vec<Event>,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    event: &'a Event,
    expect: Answer,
    current: Option<Served>,
}

impl Scenario {
    /// The history that these words stand for, with the answers as one text.
    pub(crate) fn text(rules: u64, words: &[u64], named: bool) -> String {
        let (rules, lines) = Lines::of(rules, words, named);
        lines.under("what failed", "", &rules)
    }

    /// The history that these words stand for, with the answers, in one line and without a name.
    pub(crate) fn line(rules: u64, words: &[u64], named: bool) -> String {
        let (rules, Lines(lines)) = Lines::of(rules, words, named);
        let policy = to_string(&rules).expect("plain data");
        format!(r#"{{"policy":{policy},"events":[{}]}}"#, lines.join(","))
    }

    /// A history out of these words.
    pub(crate) fn generated(
        name: String,
        rules: u64,
        words: impl Iterator<Item = u64>,
        named: bool,
    ) -> Self {
        let mut world = World::new(rules, named);
        let events = words
            .map(|word| {
                let event = world.event(word);
                world.play(&event);
                event
            })
            .collect();
        Self {
            name,
            why: String::new(),
            policy: world.rules,
            events,
        }
    }

    /// The scenario as text, with the answers that a session gives.
    pub(crate) fn played(&self) -> String {
        let mut run = Run::new(&self.policy);
        let mut lines = Lines::default();
        for event in &self.events {
            let answer = run.play(event);
            lines.push(event, answer, run.current(event.at));
        }
        lines.under(&self.name, &self.why, &self.policy)
    }
}

/// The events of a scenario, one a line.
#[derive(Default)]
struct Lines(Vec<String>);

impl Lines {
    /// The policy of the history that these words stand for, and its events.
    fn of(rules: u64, words: &[u64], named: bool) -> (Rules, Self) {
        let mut world = World::new(rules, named);
        let mut lines = Self::default();
        for word in words {
            let event = world.event(*word);
            let (answer, current) = world.play(&event);
            lines.push(&event, answer, current);
        }
        (world.rules, lines)
    }

    fn push(&mut self, event: &Event, expect: Answer, current: Option<Served>) {
        let line = Line {
            event,
            expect,
            current,
        };
        self.0.push(to_string(&line).expect("plain data"));
    }

    fn under(&self, name: &str, why: &str, policy: &Rules) -> String {
        let mut text = String::from("{\n");
        let mut field = |name: &str, value: String| {
            let _ = writeln!(text, "  \"{name}\": {value},");
        };
        field("name", to_string(name).expect("text"));
        if !why.is_empty() {
            field("why", to_string(why).expect("text"));
        }
        field("policy", to_string(policy).expect("plain data"));
        let _ = write!(
            text,
            "  \"events\": [\n    {}\n  ]\n}}\n",
            self.0.join(",\n    ")
        );
        text
    }
}
