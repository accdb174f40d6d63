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

/// A row for each, and below it what is wrong.
pub fn text(verdicts: &[Verdict]) -> String {
    let mut text = format!("{:<9}{:<14}", "store", "profile");
    for (name, _) in COLUMNS {
        text += &format!("{name:>width$}", width = name.len() + 2);
    }
    text.push('\n');
    for verdict in verdicts {
        text += &format!("{:<9}{:<14}", verdict.store, verdict.profile);
        for (name, value) in COLUMNS {
            text += &format!("{:>width$}", value(verdict), width = name.len() + 2);
        }
        text.push('\n');
    }
    for verdict in verdicts {
        for wrong in &verdict.wrong {
            text += &format!("WRONG {} {}: {wrong}\n", verdict.store, verdict.profile);
        }
    }
    text
}
