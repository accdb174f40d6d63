//! Every decision about a stored record, one case each.

use token_rotator_core::Validity;

use super::*;
use crate::token::{Credential, Placement};

fn tokens(name: &str) -> Arc<TokenSet> {
    Arc::new(TokenSet::bearer(name).with_refresh_token(format!("refresh-{name}")))
}

fn version(epoch: u128, revision: u64) -> Version {
    Version {
        epoch: Epoch::from_bits(epoch),
        revision,
    }
}

fn record(epoch: u128, revision: u64, name: Option<&str>) -> Record {
    Record {
        version: version(epoch, revision),
        tokens: name.map(tokens),
        intent: None,
        details: Box::default(),
        read_at: None,
    }
}

fn memory(known: KnownRecord, held: Option<Arc<TokenSet>>) -> RefreshStart {
    RefreshStart::from_memory(held, known, Box::default())
}

#[expect(clippy::unnecessary_wraps, reason = "as decisions call it")]
fn usable(tokens: &Arc<TokenSet>) -> Option<PreparedToken> {
    Some(PreparedToken {
        credential: Credential::new(Arc::clone(tokens), &Placement::bearer()).expect("usable"),
        validity: Validity::until(9_000),
    })
}

fn unusable(_tokens: &Arc<TokenSet>) -> Option<PreparedToken> {
    None
}

fn name(tokens: &TokenSet) -> String {
    tokens.access_token().expose_secret().to_owned()
}

/// A decision in a comparable form: its name, the access token and the version.
fn summary(decision: Decision) -> (&'static str, Option<String>, Option<Version>) {
    match decision {
        Decision::Adopt(prepared, known) => (
            "adopt",
            Some(name(&prepared.credential.tokens)),
            known.version,
        ),
        Decision::RefreshFrom(start) => (
            "refresh",
            start.last.as_deref().map(name),
            start.known.version,
        ),
        Decision::OtherEpoch(record) => ("other epoch", None, Some(record.version)),
    }
}

fn read_summary(
    found: Option<Record>,
    known: KnownRecord,
    held: Option<&str>,
) -> (&'static str, Option<String>, Option<Version>) {
    summary(read(found, memory(known, held.map(tokens)), usable))
}

#[test]
fn a_lost_record_leaves_memory() {
    let known = KnownRecord::at(version(1, 5));
    let Decision::RefreshFrom(start) = read(None, memory(known, Some(tokens("a"))), usable) else {
        panic!("a refresh");
    };
    assert_eq!(start.last.as_deref().map(name).as_deref(), Some("a"));
    assert_eq!(start.known.version, None);
    assert_eq!(
        start.known.next_version(None),
        version(1, 6),
        "no revision twice"
    );
    assert!(!start.replaced.contains(&tokens("a")));
}

#[test]
fn a_newer_usable_record_is_adopted() {
    let known = KnownRecord::at(version(1, 5));
    assert_eq!(
        read_summary(Some(record(1, 6, Some("b"))), known, Some("a")),
        ("adopt", Some("b".to_owned()), Some(version(1, 6)))
    );
    assert_eq!(
        read_summary(Some(record(1, 6, Some("b"))), KnownRecord::default(), None),
        ("adopt", Some("b".to_owned()), Some(version(1, 6)))
    );
    // Memory holds no tokens, so a revision that was read before is adopted too.
    assert_eq!(
        read_summary(Some(record(1, 5, Some("b"))), known, None),
        ("adopt", Some("b".to_owned()), Some(version(1, 5)))
    );
}

#[test]
fn a_refresh_starts_from_the_newer_of_record_and_memory() {
    let known = KnownRecord::at(version(1, 5));
    let cases = [
        // The revision was read before, so memory is as new.
        (5, "b", "a", "a"),
        // The access token is the same, so no token is adopted.
        (6, "a", "a", "a"),
    ];
    for (revision, stored, held, starts) in cases {
        assert_eq!(
            read_summary(Some(record(1, revision, Some(stored))), known, Some(held)),
            (
                "refresh",
                Some(starts.to_owned()),
                Some(version(1, revision))
            )
        );
    }
    let unusable = read(
        Some(record(1, 6, Some("b"))),
        memory(known, Some(tokens("a"))),
        unusable,
    );
    let Decision::RefreshFrom(start) = unusable else {
        panic!("a refresh");
    };
    assert_eq!(start.last.as_deref().map(name).as_deref(), Some("b"));
    assert!(start.replaced.contains(&tokens("b")));
    assert_eq!(start.known.greatest_revision, 6);
}

/// A record of the known epoch with a lower revision and other tokens is in doubt, and memory is kept.
#[test]
fn an_older_record_is_in_doubt() {
    let known = KnownRecord::at(version(1, 5));
    let read_from = |found, held| {
        let Decision::RefreshFrom(start) = read(Some(found), memory(known, Some(held)), usable)
        else {
            panic!("a refresh");
        };
        start
    };
    let start = read_from(record(1, 3, Some("backup")), tokens("held"));
    assert_eq!(start.older, Some(3));
    assert_eq!(start.last.as_deref().map(name).as_deref(), Some("held"));
    let intent = start.intent.expect("an intent");
    assert_eq!(Some(intent.token), TokenHash::of(&tokens("held")));
    assert!(intent.is_of_older_record());
    assert_eq!(start.known.version, Some(version(1, 3)));
    assert_eq!(start.known.next_version(start.known.version), version(1, 6));
    assert!(start.replaced.contains(&tokens("backup")));
    // The same tokens in an older record, or a revision that was seen, are in no doubt.
    for (revision, name) in [(3, "held"), (5, "backup")] {
        let start = read_from(record(1, revision, Some(name)), tokens("held"));
        assert_eq!((start.older, start.intent), (None, None));
    }
}

#[test]
fn the_greatest_revision_is_remembered() {
    let known = KnownRecord {
        greatest_revision: 9,
        ..KnownRecord::at(version(1, 5))
    };
    let Decision::RefreshFrom(start) = read(
        Some(record(1, 6, Some("a"))),
        memory(known, Some(tokens("a"))),
        usable,
    ) else {
        panic!("a refresh");
    };
    assert_eq!(
        start.known.next_version(start.known.version),
        version(1, 10)
    );
}

#[test]
fn another_epoch_is_followed() {
    let known = KnownRecord::at(version(1, 5));
    for found in [record(2, 6, Some("b")), record(2, 6, None)] {
        let expected = ("other epoch", None, Some(version(2, 6)));
        assert_eq!(read_summary(Some(found), known, Some("a")), expected);
    }
    // A tombstone is a sign-out even for a process without a known epoch.
    assert_eq!(
        read_summary(Some(record(2, 6, None)), KnownRecord::default(), None),
        ("other epoch", None, Some(version(2, 6)))
    );
}

fn write(known: KnownRecord, name: Option<&str>) -> Write {
    Write::new(
        1,
        name.map(tokens),
        known,
        ReplacedTokens::of(Some(&tokens("old"))),
    )
}

fn compared(theirs: Option<&Record>, ours: &Write) -> &'static str {
    match compare(theirs, ours, usable) {
        Comparison::Stored(_) => "stored",
        Comparison::Overwrite => "overwrite",
        Comparison::OtherEpoch(_) => "other epoch",
        Comparison::Newer(..) => "newer",
    }
}

#[test]
fn a_lost_compare_and_swap_is_judged_by_what_the_store_holds() {
    let ours = write(KnownRecord::at(version(1, 5)), Some("ours"));
    assert_eq!(ours.version, version(1, 6));
    let cases = [
        (None, "overwrite"),
        (Some(record(1, 6, Some("ours"))), "stored"),
        (Some(record(1, 9, Some("old"))), "overwrite"),
        (Some(record(1, 5, Some("theirs"))), "overwrite"),
        (Some(record(1, 6, Some("theirs"))), "newer"),
        (Some(record(1, 7, Some("theirs"))), "newer"),
        (Some(record(1, 7, None)), "overwrite"),
        (Some(record(2, 7, Some("theirs"))), "other epoch"),
        (Some(record(2, 7, None)), "other epoch"),
    ];
    for (theirs, expected) in cases {
        assert_eq!(compared(theirs.as_ref(), &ours), expected, "{theirs:?}");
    }
    let theirs = record(1, 7, Some("theirs"));
    assert!(
        matches!(
            compare(Some(&theirs), &ours, unusable),
            Comparison::Overwrite
        ),
        "tokens that cannot be sent displace nothing"
    );
}

#[test]
fn the_first_write_of_an_epoch_replaces_other_epochs_only() {
    let known = KnownRecord {
        epoch: Some(Epoch::from_bits(1)),
        ..KnownRecord::new_epoch()
    };
    for name in [Some("ours"), None] {
        let ours = write(known, name);
        assert_eq!(
            compared(Some(&record(2, 7, Some("theirs"))), &ours),
            "overwrite"
        );
        assert_eq!(compared(Some(&record(2, 7, None)), &ours), "overwrite");
    }
    let tombstone = write(known, None);
    assert_eq!(compared(Some(&record(1, 1, None)), &tombstone), "stored");
    let ours = write(known, Some("ours"));
    assert_eq!(compared(Some(&record(1, 1, Some("ours"))), &ours), "stored");
    assert_eq!(
        compared(Some(&record(1, 8, Some("theirs"))), &ours),
        "newer"
    );
}

#[test]
fn without_a_known_epoch_the_first_record_decides() {
    let ours = write(KnownRecord::default(), Some("ours"));
    assert_eq!(
        compared(Some(&record(2, 1, Some("theirs"))), &ours),
        "newer"
    );
    assert_eq!(compared(Some(&record(2, 1, None)), &ours), "other epoch");
}

#[test]
fn a_rebased_write_follows_the_record_and_remembers_it() {
    let mut ours = write(KnownRecord::at(version(1, 5)), Some("ours"));
    ours.rebase(Some(record(1, 9, Some("before"))));
    assert_eq!(ours.version, version(1, 10));
    assert_eq!(ours.known.version, Some(version(1, 9)));
    assert!(ours.replaced.contains(&tokens("before")));
    ours.rebase(None);
    assert_eq!(ours.version, version(1, 10), "a revision never goes back");
    assert_eq!(ours.known.version, None);
    ours.rebase(Some(record(1, 10, None)));
    assert_eq!(ours.version, version(1, 11));
}

#[test]
fn a_write_that_replaces_another_continues_from_it() {
    let mut before = write(KnownRecord::default(), Some("before"));
    before.rebase(Some(record(2, 20, Some("first"))));
    let mut ours = write(KnownRecord::default(), Some("ours"));
    assert_ne!(ours.version.epoch, before.version.epoch);
    ours.replace(&before);
    assert_eq!(ours.version, before.version);
    assert_eq!(ours.known.version, Some(version(2, 20)));
    for replaced in ["old", "first", "before"] {
        assert!(ours.replaced.contains(&tokens(replaced)), "{replaced}");
    }
    assert!(!ours.replaced.contains(&tokens("ours")));
    let stored = record(2, 21, Some("before"));
    let lost = Record {
        version: before.version,
        ..stored
    };
    assert_eq!(compared(Some(&lost), &ours), "overwrite");
    assert_eq!(ours.record().version, before.version);
    assert_eq!(
        ours.record().tokens.as_deref().map(name).as_deref(),
        Some("ours")
    );
}

#[test]
fn an_intent_write_marks_its_tokens_as_replaced() {
    let mut start = memory(KnownRecord::at(version(1, 1)), Some(tokens("a")));
    start.record_written(version(1, 2), None);
    assert!(start.replaced.contains(&tokens("a")));
    assert_eq!(start.known.version, Some(version(1, 2)));
    assert_eq!(start.known.greatest_revision, 2);
}

#[test]
fn a_known_record_keeps_the_greatest_revision() {
    let mut known = KnownRecord::at(version(1, 9));
    known.replace(KnownRecord::at(version(1, 4)));
    assert_eq!(
        (known.version, known.greatest_revision),
        (Some(version(1, 4)), 9)
    );
    known.replace(KnownRecord::at(version(1, 12)));
    assert_eq!(known.greatest_revision, 12);
    assert_eq!(known.next_version(None), version(1, 13));
    assert_eq!(known.next_version(Some(version(2, 30))), version(1, 31));
}

#[test]
fn tokens_are_the_same_if_both_are() {
    let one = TokenSet::bearer("a");
    let two = || TokenSet::bearer("a").with_refresh_token("r");
    assert!(same_tokens(&one, &TokenSet::bearer("a")));
    assert!(!same_tokens(&one, &TokenSet::bearer("b")));
    assert!(!same_tokens(&one, &two()));
    assert!(!same_tokens(&two(), &one));
    assert!(same_tokens(&two(), &two()));
    assert!(!same_tokens(
        &two(),
        &TokenSet::bearer("a").with_refresh_token("s")
    ));
}

#[test]
fn hashes_are_bounded_and_keep_the_first() {
    let mut replaced = ReplacedTokens::of(Some(&tokens("first")));
    for number in 0..REPLACED_MAX {
        replaced.push(&tokens(&number.to_string()));
        replaced.push(&tokens(&number.to_string()));
    }
    assert_eq!(replaced.0.len(), REPLACED_MAX);
    assert!(replaced.contains(&tokens("first")));
    assert!(!replaced.contains(&tokens("0")));
    assert!(replaced.contains(&tokens("1")));
    // The boundary between the two tokens is part of the hash.
    let one = TokenSet::bearer("ab").with_refresh_token("c");
    let other = TokenSet::bearer("a").with_refresh_token("bc");
    assert!(!ReplacedTokens::of(Some(&one)).contains(&other));
}
