//! The race, drawn from what really happened: a lane for each sampled request, time from left to
//! right, the refresh underneath.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use token_rotator_issuer::RequestRecord;

use crate::demo::outcome::{Caller, End, Outcome, Refresh};

const LANES: usize = 8;
const LABEL: usize = 9;
const WIDTH: usize = 66;

const REFUSED: Style = AnsiColor::Red.on_default();
const ANSWERED: Style = AnsiColor::Green.on_default();
const REFRESH: Style = AnsiColor::Cyan.on_default();
const WAITING: Style = Style::new().dimmed();

/// The signs, for terminals that know them and for those that do not.
struct Signs {
    sent: char,
    waiting: char,
    refreshing: char,
    failed: char,
}

const UNICODE: Signs = Signs {
    sent: '●',
    waiting: '┈',
    refreshing: '═',
    failed: '✗',
};

const ASCII: Signs = Signs {
    sent: '>',
    waiting: '.',
    refreshing: '=',
    failed: 'x',
};

/// One run, drawn under this title.
pub(crate) fn of(title: &str, outcome: &Outcome) -> String {
    let signs = if speaks_unicode() { &UNICODE } else { &ASCII };
    let sample = sample(outcome);
    let Some(scale) = Scale::of(&sample, &outcome.callers.refreshes) else {
        return String::new();
    };
    let bold = Style::new().bold();
    let span = format!("0 to {} ms", scale.length.as_millis());
    let mut lines = vec![format!("{bold}{title:<60}{bold:#}{span:>20}")];
    for caller in &sample {
        let own = outcome
            .callers
            .refreshes
            .iter()
            .find(|refresh| refresh.by == Some(caller.number));
        let lane = lane(caller, &outcome.record, own, &scale, signs);
        let number = format!("#{}", caller.number);
        lines.push(format!("{number:>label$}  {lane}", label = LABEL - 2));
    }
    let common: Vec<&Refresh> = outcome
        .callers
        .refreshes
        .iter()
        .filter(|refresh| refresh.by.is_none())
        .collect();
    for refresh in &common {
        let lane = refresh_lane(refresh, &scale, signs);
        lines.push(format!("{:>label$}  {lane}", "refresh", label = LABEL - 2));
    }
    let Signs {
        sent,
        waiting,
        refreshing,
        failed,
    } = signs;
    lines.push(format!(
        "{WAITING}{:LABEL$}{sent} sent  {waiting} waiting  {refreshing} refreshing  {failed} failed{WAITING:#}\n\n",
        ""
    ));
    lines.join("\n")
}

/// Some of those who were refused and some of those who never were, in the order in which they set
/// out.
fn sample(outcome: &Outcome) -> Vec<Caller> {
    let refused: HashSet<&str> = outcome
        .record
        .iter()
        .filter(|request| request.status == 401)
        .filter_map(|request| request.request_id.as_deref())
        .collect();
    let (met_it, others): (Vec<_>, Vec<_>) = outcome
        .callers
        .callers
        .iter()
        .partition(|caller| refused.contains(caller.number.to_string().as_str()));
    let mut sample = spread_over(met_it, LANES.saturating_sub(others.len()).max(LANES / 2));
    sample.extend(spread_over(others, LANES - sample.len()));
    sample.sort_by_key(|caller| caller.begun);
    sample
}

/// So many of them: the first, the last, and some in between.
fn spread_over(mut callers: Vec<&Caller>, count: usize) -> Vec<Caller> {
    callers.sort_by_key(|caller| caller.begun);
    let last = callers.len().saturating_sub(1);
    let count = count.min(callers.len());
    (0..count)
        .map(|place| callers[last * place / count.saturating_sub(1).max(1)].clone())
        .collect()
}

struct Scale {
    begin: Duration,
    length: Duration,
}

impl Scale {
    fn of(sample: &[Caller], refreshes: &[Refresh]) -> Option<Self> {
        let common = || refreshes.iter().filter(|refresh| refresh.by.is_none());
        let starts = sample.iter().map(|caller| caller.begun);
        let ends = sample.iter().map(|caller| caller.ended);
        let begin = starts.chain(common().map(|refresh| refresh.begun)).min()?;
        let end = ends.chain(common().map(|refresh| refresh.ended)).max()?;
        Some(Self {
            begin,
            length: end.saturating_sub(begin).max(Duration::from_millis(1)),
        })
    }

    /// The column of this moment.
    fn column(&self, at: Duration) -> usize {
        // Room is left for the status at the end.
        let columns = WIDTH - 5;
        let (at, length) = (
            at.saturating_sub(self.begin).as_nanos(),
            self.length.as_nanos(),
        );
        let column = (at * columns as u128 + length / 2) / length;
        usize::try_from(column).map_or(columns, |column| column.min(columns))
    }
}

/// A line that is written from left to right and never over itself.
struct Line {
    text: String,
    column: usize,
}

impl Line {
    fn starting_at(column: usize) -> Self {
        Self {
            text: " ".repeat(column),
            column,
        }
    }

    fn fill(&mut self, sign: char, style: Style, to: usize) {
        let count = to.saturating_sub(self.column);
        if count > 0 {
            self.put(&String::from(sign).repeat(count), style);
        }
    }

    fn put(&mut self, mark: &str, style: Style) {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{style}{mark}{style:#}");
        self.column += mark.chars().count();
    }
}

fn lane(
    caller: &Caller,
    record: &[RequestRecord],
    own: Option<&Refresh>,
    scale: &Scale,
    signs: &Signs,
) -> String {
    let id = caller.number.to_string();
    let sends = record
        .iter()
        .filter(|request| request.request_id.as_deref() == Some(id.as_str()));
    let mut line = Line::starting_at(scale.column(caller.begun));
    for request in sends {
        if let Some(refresh) = own
            && refresh.begun < request.arrived
        {
            line.fill(signs.refreshing, REFRESH, scale.column(refresh.ended));
        }
        line.fill(signs.waiting, WAITING, scale.column(request.arrived));
        line.put(&String::from(signs.sent), Style::new());
        let style = if request.status == 200 {
            ANSWERED
        } else {
            REFUSED
        };
        line.put(&request.status.to_string(), style);
    }
    let refreshing_last = own.is_some_and(|refresh| !refresh.succeeded);
    match caller.end {
        End::Answered => {}
        End::Failed | End::Uncertain => {
            let (sign, style) = if refreshing_last {
                (signs.refreshing, REFRESH)
            } else {
                (signs.waiting, WAITING)
            };
            line.fill(sign, style, scale.column(caller.ended));
            line.put(&String::from(signs.failed), REFUSED);
        }
        End::Cancelled => {
            line.fill(signs.waiting, WAITING, scale.column(caller.ended));
            line.put(" cancelled", WAITING);
        }
    }
    line.text
}

fn refresh_lane(refresh: &Refresh, scale: &Scale, signs: &Signs) -> String {
    let mut line = Line::starting_at(scale.column(refresh.begun));
    line.fill(signs.refreshing, REFRESH, scale.column(refresh.ended));
    let end = if refresh.succeeded { "new" } else { "lost" };
    line.put(end, if refresh.succeeded { ANSWERED } else { REFUSED });
    line.text
}

/// By the locale, as the C library reads it; where there is none at all, most terminals do.
fn speaks_unicode() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    locale.is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}
