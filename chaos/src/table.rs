//! Verdicts as a table.

use crate::verdict::Verdict;

type Column = (&'static str, fn(&Verdict) -> u64);

const COLUMNS: [Column; 14] = [
    ("kills", |verdict| verdict.kills),
    ("stops", |verdict| verdict.stops),
    ("answered", |verdict| verdict.answered),
    ("without", |verdict| verdict.without),
    ("flights", |verdict| verdict.flights),
    ("refreshes", |verdict| verdict.refreshes),
    ("adopted", |verdict| verdict.adopted),
    ("busy", |verdict| verdict.busy),
    ("uncertain", |verdict| verdict.uncertain),
    ("again", |verdict| verdict.again),
    ("last", |verdict| verdict.last_resorts),
    ("alarms", |verdict| verdict.alarms),
    ("unannounced", |verdict| verdict.unannounced),
    ("lost", |verdict| verdict.lost),
];

/// A row for each verdict, and the breaches below the rows.
pub fn text(verdicts: &[Verdict]) -> String {
    let row = |store: &str, profile: &str, cell: &dyn Fn(&Column) -> String| {
        let cells: Vec<String> = COLUMNS
            .iter()
            .map(|column| format!("{:>width$}", cell(column), width = column.0.len() + 2))
            .collect();
        format!("{store:<9}{profile:<14}{}", cells.concat())
    };
    let mut lines = vec![row("store", "profile", &|(name, _)| (*name).to_owned())];
    for verdict in verdicts {
        lines.push(row(&verdict.store, &verdict.profile, &|(_, value)| {
            value(verdict).to_string()
        }));
    }
    for verdict in verdicts {
        let (store, profile) = (&verdict.store, &verdict.profile);
        let wrong = verdict.wrong.iter();
        lines.extend(wrong.map(|wrong| format!("WRONG {store} {profile}: {wrong}")));
    }
    lines.join("\n") + "\n"
}
