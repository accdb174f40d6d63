//! A storm: the requests that one token's end held up, and the refresh under them.

use serde_json::{Value, json};

/// So many requests are drawn; the others are counted.
const LANES: usize = 200;

/// So many steps of one request are kept. A request takes eight at the most; each wait of an
/// upgrade's own adds two.
const STEPS: usize = 16;

/// So many refreshes of one storm are kept.
const REFRESHES: usize = 16;

/// Milliseconds since the timeline began.
pub(crate) type Millis = f64;

/// What happened to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Arrived,
    Sent,
    Refused,
    Waiting,
    Replayed,
    Answered(u16),
    /// Its caller went away.
    Left,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Arrived => "arrived",
            Self::Sent => "sent",
            Self::Refused => "refused",
            Self::Waiting => "waiting",
            Self::Replayed => "replayed",
            Self::Answered(_) => "answered",
            Self::Left => "left",
        }
    }
}

/// One request's.
struct Lane {
    route: String,
    method: String,
    steps: Vec<(Step, Millis)>,
    version: u64,
}

/// One refresh.
struct Refresh {
    flight: u64,
    began: Millis,
    ended: Option<(Millis, &'static str)>,
}

/// From the first refusal or wait until the refresh has ended and everybody is answered.
pub(crate) struct Storm {
    pub(crate) number: u64,
    session: String,
    began: Millis,
    ended: Option<Millis>,
    lanes: Vec<Lane>,
    refreshes: Vec<Refresh>,
    counts: Counts,
    /// Requests that have no answer yet.
    active: usize,
    /// The newest token that a refresh of this storm brought.
    generation: u64,
    pub(crate) version: u64,
}

/// How many requests took which step.
#[derive(Default)]
struct Counts {
    requests: u64,
    refused: u64,
    waited: u64,
    replayed: u64,
    answered: u64,
    failed: u64,
    left: u64,
}

impl Storm {
    pub(crate) fn new(number: u64, session: &str, began: Millis) -> Self {
        Self {
            number,
            session: session.to_owned(),
            began,
            ended: None,
            lanes: Vec::new(),
            refreshes: Vec::new(),
            counts: Counts::default(),
            active: 0,
            generation: 0,
            version: 0,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether a refusal of this generation's token is a late one, of this storm.
    pub(crate) fn has_replaced(&self, generation: Option<u64>) -> bool {
        generation.is_some_and(|generation| generation < self.generation)
    }

    /// Takes in another request. `None`: it is counted, not drawn.
    pub(crate) fn join(&mut self, route: &str, method: &str) -> Option<usize> {
        self.ended = None;
        self.active += 1;
        self.counts.requests += 1;
        (self.lanes.len() < LANES).then(|| {
            self.lanes.push(Lane {
                route: route.to_owned(),
                method: method.to_owned(),
                steps: Vec::new(),
                version: 0,
            });
            self.lanes.len() - 1
        })
    }

    /// Writes down a step of a request that has joined.
    pub(crate) fn step(&mut self, lane: Option<usize>, step: Step, at: Millis, version: u64) {
        self.version = version;
        if let Some(lane) = lane.and_then(|lane| self.lanes.get_mut(lane)) {
            lane.version = version;
            if lane.steps.len() < STEPS {
                lane.steps.push((step, at));
            }
        }
        match step {
            Step::Arrived => self.began = self.began.min(at),
            Step::Sent => {}
            Step::Refused => self.counts.refused += 1,
            Step::Waiting => self.counts.waited += 1,
            Step::Replayed => self.counts.replayed += 1,
            Step::Answered(status) => {
                self.counts.answered += 1;
                self.counts.failed += u64::from(status == 401 || status >= 500);
                self.settle(at);
            }
            Step::Left => {
                self.counts.left += 1;
                self.settle(at);
            }
        }
    }

    fn settle(&mut self, at: Millis) {
        self.active = self.active.saturating_sub(1);
        self.end_if_over(at);
    }

    pub(crate) fn refresh_began(&mut self, flight: u64, at: Millis, version: u64) {
        self.version = version;
        self.ended = None;
        if self.refreshes.len() < REFRESHES {
            self.refreshes.push(Refresh {
                flight,
                began: at,
                ended: None,
            });
        }
    }

    /// `generation`: of the token it brought.
    pub(crate) fn refresh_ended(
        &mut self,
        flight: Option<u64>,
        outcome: &'static str,
        generation: Option<u64>,
        at: Millis,
        version: u64,
    ) {
        self.version = version;
        let under_way = |refresh: &&mut Refresh| refresh.ended.is_none();
        for refresh in self.refreshes.iter_mut().filter(under_way) {
            if flight.is_none_or(|flight| flight == refresh.flight) {
                refresh.ended = Some((at, outcome));
            }
        }
        self.generation = self.generation.max(generation.unwrap_or(0));
        self.end_if_over(at);
    }

    fn end_if_over(&mut self, at: Millis) {
        let landed = self.refreshes.iter().all(|refresh| refresh.ended.is_some());
        if self.active == 0 && landed && self.ended.is_none() {
            self.ended = Some(at);
        }
    }

    /// All of it, or what is newer than `since`.
    pub(crate) fn json(&self, since: u64) -> Value {
        let lanes = self.lanes.iter().enumerate();
        let lanes = lanes.filter(|(_, lane)| lane.version > since);
        let counts = &self.counts;
        json!({
            "number": self.number,
            "session": self.session,
            "began": self.began,
            "ended": self.ended,
            "requests": counts.requests,
            "refused": counts.refused,
            "waited": counts.waited,
            "replayed": counts.replayed,
            "answered": counts.answered,
            "failed": counts.failed,
            "left": counts.left,
            "more": counts.requests - self.lanes.len() as u64,
            "refreshes": self.refreshes.iter().map(Refresh::json).collect::<Vec<_>>(),
            "lanes": lanes.map(|(id, lane)| lane.json(id)).collect::<Vec<_>>(),
        })
    }
}

impl Lane {
    fn json(&self, id: usize) -> Value {
        let steps = self.steps.iter().map(|(step, at)| match step {
            Step::Answered(status) => json!([step.name(), at, status]),
            _ => json!([step.name(), at]),
        });
        json!({
            "id": id,
            "route": self.route,
            "method": self.method,
            "steps": steps.collect::<Vec<_>>(),
        })
    }
}

impl Refresh {
    fn json(&self) -> Value {
        json!({
            "began": self.began,
            "ended": self.ended.map(|(at, _)| at),
            "outcome": self.ended.map(|(_, outcome)| outcome),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_over_when_the_refresh_has_landed_and_everybody_is_answered() {
        let mut storm = Storm::new(1, "default", 5.0);
        let lane = storm.join("api", "GET");
        storm.step(lane, Step::Arrived, 1.0, 1);
        storm.step(lane, Step::Refused, 5.0, 2);
        storm.refresh_began(7, 6.0, 3);
        storm.step(lane, Step::Left, 7.0, 4);
        assert!(storm.is_open(), "the refresh is under way");
        storm.refresh_ended(Some(7), "refreshed", Some(2), 9.0, 5);
        let json = storm.json(0);
        assert_eq!((&json["began"], &json["ended"]), (&json!(1.0), &json!(9.0)));
        // A late refusal of the old token is of this storm, one of the new token is not.
        assert!(storm.has_replaced(Some(1)) && !storm.has_replaced(Some(2)));
        let belated = storm.join("api", "GET");
        assert!(storm.is_open());
        storm.step(belated, Step::Answered(200), 11.0, 6);
        assert_eq!(storm.json(0)["ended"], json!(11.0));
    }

    #[test]
    fn what_is_drawn_is_bounded_and_the_rest_is_counted() {
        let mut storm = Storm::new(1, "default", 0.0);
        for number in 0..LANES + 3 {
            let lane = storm.join("api", "GET");
            assert_eq!(lane.is_some(), number < LANES);
            for _ in 0..=STEPS {
                storm.step(lane, Step::Waiting, 1.0, 1);
            }
        }
        let json = storm.json(0);
        assert_eq!(json["lanes"].as_array().map(Vec::len), Some(LANES));
        assert_eq!((&json["requests"], &json["more"]), (&json!(203), &json!(3)));
        let steps = json["lanes"][0]["steps"].as_array().map(Vec::len);
        assert_eq!(steps, Some(STEPS));
        assert_eq!(storm.json(1)["lanes"], json!([]), "nothing is newer");
    }
}
