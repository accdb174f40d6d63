//! Draws a recorded run: one lane for each sampled request, time from left to right, the shared
//! refresh below.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use token_rotator_issuer::RequestRecord;

use crate::demo::outcome::{Caller, CallerOutcome, RefreshSpan, RunOutcome};

const LANES: usize = 8;
const LABEL: usize = 9;
const WIDTH: usize = 66;

const REFUSED: Style = AnsiColor::Red.on_default();
const ANSWERED: Style = AnsiColor::Green.on_default();
const REFRESH: Style = AnsiColor::Cyan.on_default();
const WAITING: Style = Style::new().dimmed();

/// The symbols of the drawing, in Unicode and in ASCII.
struct Symbols {
    sent: char,
    waiting: char,
    refreshing: char,
    failed: char,
}

const UNICODE: Symbols = Symbols {
    sent: '●',
    waiting: '┈',
    refreshing: '═',
    failed: '✗',
};

const ASCII: Symbols = Symbols {
    sent: '>',
    waiting: '.',
    refreshing: '=',
    failed: 'x',
};

/// Draws one run under this title. Returns an empty text if nothing happened.
pub(crate) fn draw(title: &str, outcome: &RunOutcome) -> String {
    let symbols = if supports_unicode() { &UNICODE } else { &ASCII };
    let sample = sample(outcome);
    let Some(scale) = TimeScale::of(&sample, &outcome.log.refreshes) else {
        return String::new();
    };
    let bold = Style::new().bold();
    let span = format!("0 to {} ms", scale.length.as_millis());
    let mut lines = vec![format!("{bold}{title:<60}{bold:#}{span:>20}")];
    for caller in &sample {
        let own = outcome
            .log
            .refreshes
            .iter()
            .find(|refresh| refresh.by == Some(caller.number));
        let lane = lane(caller, &outcome.record, own, &scale, symbols);
        let number = format!("#{}", caller.number);
        lines.push(format!("{number:>label$}  {lane}", label = LABEL - 2));
    }
    let common: Vec<&RefreshSpan> = outcome
        .log
        .refreshes
        .iter()
        .filter(|refresh| refresh.by.is_none())
        .collect();
    for refresh in &common {
        let lane = refresh_lane(refresh, &scale, symbols);
        lines.push(format!("{:>label$}  {lane}", "refresh", label = LABEL - 2));
    }
    let Symbols {
        sent,
        waiting,
        refreshing,
        failed,
    } = symbols;
    lines.push(format!(
        "{WAITING}{:LABEL$}{sent} sent  {waiting} waiting  {refreshing} refreshing  {failed} failed{WAITING:#}\n\n",
        ""
    ));
    lines.join("\n")
}

/// Picks some callers that were refused and some that never were, sorted by their start.
fn sample(outcome: &RunOutcome) -> Vec<Caller> {
    let refused: HashSet<&str> = outcome
        .record
        .iter()
        .filter(|request| request.status == 401)
        .filter_map(|request| request.request_id.as_deref())
        .collect();
    let (refused_callers, others): (Vec<_>, Vec<_>) = outcome
        .log
        .callers
        .iter()
        .partition(|caller| refused.contains(caller.number.to_string().as_str()));
    let mut sample = spread_over(
        refused_callers,
        LANES.saturating_sub(others.len()).max(LANES / 2),
    );
    sample.extend(spread_over(others, LANES - sample.len()));
    sample.sort_by_key(|caller| caller.begun);
    sample
}

/// Picks `count` callers: the first, the last, and evenly spread ones in between.
fn spread_over(mut callers: Vec<&Caller>, count: usize) -> Vec<Caller> {
    callers.sort_by_key(|caller| caller.begun);
    let last = callers.len().saturating_sub(1);
    let count = count.min(callers.len());
    (0..count)
        .map(|index| callers[last * index / count.saturating_sub(1).max(1)].clone())
        .collect()
}

struct TimeScale {
    begin: Duration,
    length: Duration,
}

impl TimeScale {
    fn of(sample: &[Caller], refreshes: &[RefreshSpan]) -> Option<Self> {
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

    /// Returns the column of this moment.
    fn column(&self, at: Duration) -> usize {
        // Five columns stay free for the last status.
        let columns = WIDTH - 5;
        let (at, length) = (
            at.saturating_sub(self.begin).as_nanos(),
            self.length.as_nanos(),
        );
        let column = (at * columns as u128 + length / 2) / length;
        usize::try_from(column).map_or(columns, |column| column.min(columns))
    }
}

/// A line of text that grows from left to right and never overwrites itself.
struct TextLane {
    text: String,
    column: usize,
}

impl TextLane {
    fn starting_at(column: usize) -> Self {
        Self {
            text: " ".repeat(column),
            column,
        }
    }

    fn fill(&mut self, symbol: char, style: Style, to: usize) {
        let count = to.saturating_sub(self.column);
        if count > 0 {
            self.put(&String::from(symbol).repeat(count), style);
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
    own: Option<&RefreshSpan>,
    scale: &TimeScale,
    symbols: &Symbols,
) -> String {
    let id = caller.number.to_string();
    let sends = record
        .iter()
        .filter(|request| request.request_id.as_deref() == Some(id.as_str()));
    let mut line = TextLane::starting_at(scale.column(caller.begun));
    for request in sends {
        if let Some(refresh) = own
            && refresh.begun < request.arrived
        {
            line.fill(symbols.refreshing, REFRESH, scale.column(refresh.ended));
        }
        line.fill(symbols.waiting, WAITING, scale.column(request.arrived));
        line.put(&String::from(symbols.sent), Style::new());
        let style = if request.status == 200 {
            ANSWERED
        } else {
            REFUSED
        };
        line.put(&request.status.to_string(), style);
    }
    let refreshing_last = own.is_some_and(|refresh| !refresh.succeeded);
    match caller.outcome {
        CallerOutcome::Answered => {}
        CallerOutcome::Failed | CallerOutcome::Uncertain => {
            let (symbol, style) = if refreshing_last {
                (symbols.refreshing, REFRESH)
            } else {
                (symbols.waiting, WAITING)
            };
            line.fill(symbol, style, scale.column(caller.ended));
            line.put(&String::from(symbols.failed), REFUSED);
        }
        CallerOutcome::Cancelled => {
            line.fill(symbols.waiting, WAITING, scale.column(caller.ended));
            line.put(" cancelled", WAITING);
        }
    }
    line.text
}

fn refresh_lane(refresh: &RefreshSpan, scale: &TimeScale, symbols: &Symbols) -> String {
    let mut line = TextLane::starting_at(scale.column(refresh.begun));
    line.fill(symbols.refreshing, REFRESH, scale.column(refresh.ended));
    let label = if refresh.succeeded { "new" } else { "lost" };
    line.put(label, if refresh.succeeded { ANSWERED } else { REFUSED });
    line.text
}

/// Returns whether the locale is UTF-8. Without any locale most terminals support Unicode.
fn supports_unicode() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    locale.is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}
