//! A storm: the requests that wait because one token expired or was refused, and the refresh.

use serde_json::{Value, json};

/// Number of requests that are drawn; further requests are only counted.
const LANES: usize = 200;

/// Number of steps that are kept of one request. A request takes at most eight; each further wait
/// of an upgrade adds two.
const STEPS: usize = 16;

/// Number of refreshes that are kept of one storm.
const REFRESHES: usize = 16;

/// Milliseconds since the timeline began.
pub(crate) type Millis = f64;

/// What happened to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestStep {
    Arrived,
    Sent,
    Refused,
    Waiting,
    Replayed,
    Answered(u16),
    /// The caller closed its connection.
    Left,
}

impl RequestStep {
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

/// One drawn request.
struct Lane {
    route: String,
    method: String,
    steps: Vec<(RequestStep, Millis)>,
    version: u64,
}

/// One refresh of the storm.
struct StormRefresh {
    flight: u64,
    began: Millis,
    ended: Option<(Millis, &'static str)>,
}

/// A storm lasts from the first refusal or wait until the refresh has ended and every request is
/// answered.
pub(crate) struct Storm {
    pub(crate) number: u64,
    session: String,
    began: Millis,
    ended: Option<Millis>,
    lanes: Vec<Lane>,
    refreshes: Vec<StormRefresh>,
    counts: Counts,
    /// Requests that have no answer yet.
    active: usize,
    /// Generation of the newest token from a refresh of this storm.
    generation: u64,
    pub(crate) version: u64,
}

/// Number of requests that took each step.
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

    /// Whether this storm has replaced the token of this generation, so that its refusal is late.
    pub(crate) fn has_replaced(&self, generation: Option<u64>) -> bool {
        generation.is_some_and(|generation| generation < self.generation)
    }

    /// Adds a request. Returns its lane, or `None` if the request is only counted.
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

    /// Records a step of an added request.
    pub(crate) fn step(
        &mut self,
        lane: Option<usize>,
        step: RequestStep,
        at: Millis,
        version: u64,
    ) {
        self.version = version;
        if let Some(lane) = lane.and_then(|lane| self.lanes.get_mut(lane)) {
            lane.version = version;
            if lane.steps.len() < STEPS {
                lane.steps.push((step, at));
            }
        }
        match step {
            RequestStep::Arrived => self.began = self.began.min(at),
            RequestStep::Sent => {}
            RequestStep::Refused => self.counts.refused += 1,
            RequestStep::Waiting => self.counts.waited += 1,
            RequestStep::Replayed => self.counts.replayed += 1,
            RequestStep::Answered(status) => {
                self.counts.answered += 1;
                self.counts.failed += u64::from(status == 401 || status >= 500);
                self.finish_request(at);
            }
            RequestStep::Left => {
                self.counts.left += 1;
                self.finish_request(at);
            }
        }
    }

    fn finish_request(&mut self, at: Millis) {
        self.active = self.active.saturating_sub(1);
        self.end_if_over(at);
    }

    pub(crate) fn refresh_began(&mut self, flight: u64, at: Millis, version: u64) {
        self.version = version;
        self.ended = None;
        if self.refreshes.len() < REFRESHES {
            self.refreshes.push(StormRefresh {
                flight,
                began: at,
                ended: None,
            });
        }
    }

    /// Records the end of a refresh, or of all refreshes if `flight` is `None`. `generation`
    /// belongs to the token that the refresh brought.
    pub(crate) fn refresh_ended(
        &mut self,
        flight: Option<u64>,
        outcome: &'static str,
        generation: Option<u64>,
        at: Millis,
        version: u64,
    ) {
        self.version = version;
        let under_way = |refresh: &&mut StormRefresh| refresh.ended.is_none();
        for refresh in self.refreshes.iter_mut().filter(under_way) {
            if flight.is_none_or(|flight| flight == refresh.flight) {
                refresh.ended = Some((at, outcome));
            }
        }
        self.generation = self.generation.max(generation.unwrap_or(0));
        self.end_if_over(at);
    }

    fn end_if_over(&mut self, at: Millis) {
        let all_ended = self.refreshes.iter().all(|refresh| refresh.ended.is_some());
        if self.active == 0 && all_ended && self.ended.is_none() {
            self.ended = Some(at);
        }
    }

    /// Returns the storm as JSON, with the lanes whose version is above `since`.
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
            "refreshes": self.refreshes.iter().map(StormRefresh::json).collect::<Vec<_>>(),
            "lanes": lanes.map(|(id, lane)| lane.json(id)).collect::<Vec<_>>(),
        })
    }
}

impl Lane {
    fn json(&self, id: usize) -> Value {
        let steps = self.steps.iter().map(|(step, at)| match step {
            RequestStep::Answered(status) => json!([step.name(), at, status]),
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

impl StormRefresh {
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
    fn a_storm_ends_when_the_refresh_has_ended_and_every_request_is_answered() {
        let mut storm = Storm::new(1, "default", 5.0);
        let lane = storm.join("api", "GET");
        storm.step(lane, RequestStep::Arrived, 1.0, 1);
        storm.step(lane, RequestStep::Refused, 5.0, 2);
        storm.refresh_began(7, 6.0, 3);
        storm.step(lane, RequestStep::Left, 7.0, 4);
        assert!(storm.is_open(), "the refresh is in progress");
        storm.refresh_ended(Some(7), "refreshed", Some(2), 9.0, 5);
        let json = storm.json(0);
        assert_eq!((&json["began"], &json["ended"]), (&json!(1.0), &json!(9.0)));
        // A late refusal of the old token belongs to this storm; a refusal of the new token does
        // not.
        assert!(storm.has_replaced(Some(1)) && !storm.has_replaced(Some(2)));
        let second = storm.join("api", "GET");
        assert!(storm.is_open());
        storm.step(second, RequestStep::Answered(200), 11.0, 6);
        assert_eq!(storm.json(0)["ended"], json!(11.0));
    }

    #[test]
    fn drawn_requests_are_bounded_and_all_are_counted() {
        let mut storm = Storm::new(1, "default", 0.0);
        for number in 0..LANES + 3 {
            let lane = storm.join("api", "GET");
            assert_eq!(lane.is_some(), number < LANES);
            for _ in 0..=STEPS {
                storm.step(lane, RequestStep::Waiting, 1.0, 1);
            }
        }
        let json = storm.json(0);
        assert_eq!(json["lanes"].as_array().map(Vec::len), Some(LANES));
        assert_eq!((&json["requests"], &json["more"]), (&json!(203), &json!(3)));
        let steps = json["lanes"][0]["steps"].as_array().map(Vec::len);
        assert_eq!(steps, Some(STEPS));
        assert_eq!(storm.json(1)["lanes"], json!([]), "no lane is newer");
    }
}
