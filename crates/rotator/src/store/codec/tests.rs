use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::error::FailureKind;
use crate::session::decide::same_tokens;
use crate::store::intent::{Intent, IntentId, IntentOutcome, TokenHash};
use crate::store::{
    Binding, Epoch, Fingerprint, RecordDetails, RefusedContent, SharedFailure, StoreTime,
    UnexplainedRefusals, Version,
};
use crate::token::secret::ExposeSecret as _;
use crate::token::token_set::{Expiry, TokenSet};

fn key(byte: u8) -> DataKey {
    DataKey::new(KeySource::Program, [byte; 32])
}

fn session() -> SessionKey {
    SessionKey::new("work")
}

fn tokens() -> TokenSet {
    TokenSet::bearer("the \"access\" token")
        .with_refresh_token("the refresh token")
        .with_refresh_expiry(Expiry::In(Duration::from_millis(98_765)))
        .expires_in(Duration::from_millis(12_345))
        .with_scope("a b")
        .with_id_token("the id token")
        .with_extra("tenant", "the tenant")
        .received(SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123))
}

fn record() -> Record {
    let tokens = tokens();
    let intent = TokenHash::of(&tokens).map(|hash| {
        Intent {
            id: IntentId::from_bits(7),
            ..Intent::new(hash, SystemTime::UNIX_EPOCH + Duration::from_millis(7))
        }
        .again()
        .with_outcome(IntentOutcome::Uncertain)
    });
    Record {
        version: Version {
            epoch: Epoch::from_bits(u128::MAX - 1),
            revision: u64::MAX,
        },
        tokens: Some(Arc::new(tokens)),
        intent,
        details: Box::new(details()),
        read_at: None,
    }
}

/// Details with every field.
fn details() -> RecordDetails {
    let at = StoreTime::by_wall(SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_321));
    let at = at.with_start(u128::MAX - 5, Duration::from_millis(77));
    let fingerprint = Fingerprint::of(["endpoint"], None);
    let mut failure =
        SharedFailure::new(FailureKind::Misconfigured, "what \"happened\"", "host", at);
    failure.code = Some("invalid_client".to_owned());
    failure.wait = Duration::from_millis(1_234);
    failure.asked_by_issuer = true;
    failure.fingerprint = Some(fingerprint);
    failure.in_a_row = 3;
    let local = SharedFailure::new(FailureKind::NotSent, "no route", "other", at);
    let mut refusals = UnexplainedRefusals::new(2, at, "401");
    refusals.is_refused = true;
    RecordDetails {
        received: Some(at),
        failures: vec![failure, local],
        unexplained: Some(refusals),
        binding: Some(
            Binding::new("https://issuer.example/token")
                .with_issuer("https://issuer.example")
                .with_revocation_endpoint("https://issuer.example/revoke"),
        ),
        previous: Some("the previous refresh token".into()),
        refused_content: Some(RefusedContent::new("token type mac", Some(fingerprint))),
        unsealed: false,
    }
}

fn assert_same_details(actual: &RecordDetails, expected: &RecordDetails) {
    assert_eq!(actual.received, expected.received);
    assert_eq!(actual.failures, expected.failures);
    assert_eq!(actual.unexplained, expected.unexplained);
    assert_eq!(actual.binding, expected.binding);
    assert_eq!(actual.refused_content, expected.refused_content);
    let previous = |details: &RecordDetails| {
        let token = details.previous.as_ref();
        token.map(|token| token.expose_secret().to_owned())
    };
    assert_eq!(previous(actual), previous(expected));
}

fn assert_same(actual: &Record, expected: &Record) {
    assert_eq!(actual.version, expected.version);
    assert_eq!(actual.intent, expected.intent);
    assert_same_details(&actual.details, &expected.details);
    match (&actual.tokens, &expected.tokens) {
        (Some(actual), Some(expected)) => {
            assert!(same_tokens(actual, expected));
            assert_eq!(actual.expiry(), expected.expiry());
            assert_eq!(actual.obtained_at(), expected.obtained_at());
            assert_eq!(
                actual.refresh_token_expires_at(),
                expected.refresh_token_expires_at()
            );
            assert_eq!(actual.scope(), expected.scope());
            assert_eq!(actual.token_type(), expected.token_type());
            let texts = |tokens: &TokenSet| {
                let extra = tokens.extra("tenant");
                [tokens.id_token(), extra]
                    .map(|text| text.map(|text| text.expose_secret().to_owned()))
            };
            assert_eq!(texts(actual), texts(expected));
        }
        (None, None) => {}
        _ => panic!("only one of the two records has tokens"),
    }
}

/// Property: a record, sealed or plaintext, is decoded with every field that was encoded.
#[test]
fn an_encoded_record_is_decoded() {
    let bare = Record {
        tokens: Some(Arc::new(TokenSet::bearer("a").with_expiry(Expiry::Unknown))),
        intent: None,
        details: Box::default(),
        ..record()
    };
    let at = Record {
        tokens: Some(Arc::new(TokenSet::bearer("a").with_expiry(Expiry::At(
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        )))),
        ..bare.clone()
    };
    let tombstone = Record {
        tokens: None,
        ..bare.clone()
    };
    for codec in [RecordCodec::sealed(key(1)), RecordCodec::plaintext()] {
        for record in [record(), bare.clone(), at.clone(), tombstone.clone()] {
            let bytes = codec.encode(&session(), &record).expect("randomness");
            assert_same(
                &codec.decode(&session(), &bytes).expect("a record"),
                &record,
            );
            let header = RecordHeader::read(&session(), &bytes).expect("a header");
            assert_eq!(header.version, record.version);
        }
    }
}

/// Property: the longest readable record is encoded. A record that is one byte longer is refused.
#[test]
fn a_record_longer_than_decode_reads_is_refused() {
    let long = |length| Record {
        tokens: Some(Arc::new(TokenSet::bearer("a".repeat(length)))),
        ..record()
    };
    for codec in [RecordCodec::sealed(key(1)), RecordCodec::plaintext()] {
        let overhead = codec.encode(&session(), &long(1)).expect("short").len() - 1;
        let longest = long(BYTES_MAX - overhead);
        let bytes = codec.encode(&session(), &longest).expect("not too long");
        assert_eq!(bytes.len(), BYTES_MAX);
        let read = codec.decode(&session(), &bytes).expect("a record");
        assert_same(&read, &longest);

        let error = codec.encode(&session(), &long(BYTES_MAX - overhead + 1));
        let error = error.expect_err("too long");
        assert_eq!(error.kind(), StoreErrorKind::TooLarge);
        assert!(error.hint().is_some_and(|hint| hint.contains("token")));
    }
}

/// Property: the end of a refresh token is kept, and a record without one is read.
#[test]
fn the_end_of_a_refresh_token_is_kept() {
    let codec = RecordCodec::plaintext();
    for end in [
        None,
        Some(SystemTime::UNIX_EPOCH + Duration::from_millis(98_765)),
    ] {
        let expiry = end.map_or(Expiry::Unknown, Expiry::At);
        let record = Record {
            tokens: Some(Arc::new(tokens().with_refresh_expiry(expiry))),
            ..record()
        };
        let bytes = codec.encode(&session(), &record).expect("a record");
        assert_eq!(
            String::from_utf8_lossy(&bytes).contains("refresh_token_expires"),
            end.is_some()
        );
        let read = codec.decode(&session(), &bytes).expect("a record");
        let tokens = read.tokens.expect("tokens");
        assert_eq!(tokens.refresh_token_expires_at(), end);
    }
}

/// Property: a session name that makes the header line longer than its limit is refused.
#[test]
fn a_name_longer_than_the_header_line_holds_is_refused() {
    let named = |length| SessionKey::new("n".repeat(length));
    let codec = RecordCodec::plaintext();
    let line = |name: &SessionKey| {
        let bytes = codec.encode(name, &record()).expect("short");
        bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .expect("a line")
            + 1
    };
    let overhead = line(&named(1)) - 1;
    let longest = named(header::LINE_MAX - overhead);
    let bytes = codec.encode(&longest, &record()).expect("not too long");
    codec.decode(&longest, &bytes).expect("a record");
    let error = codec.encode(&named(header::LINE_MAX - overhead + 1), &record());
    let error = error.expect_err("too long");
    assert_eq!(error.kind(), StoreErrorKind::TooLarge);
    assert!(error.hint().is_some_and(|hint| hint.contains("name")));
}

/// Property: a sealed record shows its session, its version and the key's id, and no byte of a token.
#[test]
fn a_sealed_record_shows_no_token() {
    let codec = RecordCodec::sealed(key(1));
    let bytes = codec.encode(&session(), &record()).expect("randomness");
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("token-rotator-session 1 {\"session\":\"work\""));
    for secret in ["access", "refresh token", "id token", "tenant"] {
        assert!(!text.contains(secret), "{secret} shows");
    }
    let again = codec.encode(&session(), &record()).expect("randomness");
    assert_ne!(bytes, again, "a nonce was used twice");
    let key = format!("{:?}", key(7));
    assert!(!key.contains("0707") && key.contains(&super::tests::key(7).id().to_string()));
}

/// Property: a record of another key or session, and plaintext tokens in a sealed store, are refused
/// with a typed error.
#[test]
fn a_record_of_another_key_or_session_is_refused() {
    let sealed = RecordCodec::sealed(key(1));
    let bytes = sealed.encode(&session(), &record()).expect("randomness");
    let kind = |codec: &RecordCodec, session: &SessionKey, bytes: &[u8]| {
        codec.decode(session, bytes).expect_err("refused").kind()
    };
    let refused = StoreErrorKind::Refused;
    assert_eq!(
        kind(&RecordCodec::sealed(key(2)), &session(), &bytes),
        refused
    );
    assert_eq!(kind(&RecordCodec::plaintext(), &session(), &bytes), refused);
    let plain = RecordCodec::plaintext().encode(&session(), &record());
    let plain = plain.expect("a record");
    assert_eq!(kind(&sealed, &session(), &plain), refused);
    let other = SessionKey::new("other");
    assert_eq!(kind(&sealed, &other, &bytes), StoreErrorKind::Corrupt);
    // The session's name in the line is authenticated, so a changed name breaks the seal.
    let line_end = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .expect("a line");
    let line = String::from_utf8_lossy(&bytes[..line_end]).replace("work", "play");
    let mut forged = line.into_bytes();
    forged.extend_from_slice(&bytes[line_end..]);
    let play = SessionKey::new("play");
    assert_eq!(kind(&sealed, &play, &forged), StoreErrorKind::Corrupt);
    let newer = b"token-rotator-session 2 {}\n";
    assert_eq!(kind(&sealed, &session(), newer), StoreErrorKind::Newer);
}

/// Property: a key is read from hexadecimal digits or base64, and from no other text.
#[test]
fn keys_are_read_from_hex_and_base64_only() {
    let key = key(0xfb);
    let read = |text: &str| DataKey::from_text(KeySource::Program, text);
    assert_eq!(read(&key.to_text()).expect("a key").bytes(), key.bytes());
    let base64 = format!("{}=", "+/v7".repeat(10) + "+/s");
    assert_eq!(read(&base64).map(|key| key.bytes().len()), Ok(32));
    for text in ["", "00", &"0".repeat(63), &"g".repeat(64), "not base64 !"] {
        assert_eq!(read(text).err(), Some(KeyTextError), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    /// Property: a record that was cut short or changed in a byte is not decoded as another record.
    /// The decoder does not panic.
    #[test]
    fn damage_is_detected(sealed: bool, cut: prop::sample::Index, at: prop::sample::Index, with: u8) {
        let codec = if sealed { RecordCodec::sealed(key(1)) } else { RecordCodec::plaintext() };
        let bytes = codec.encode(&session(), &record()).expect("randomness");
        let short = &bytes[..cut.index(bytes.len())];
        prop_assert!(codec.decode(&session(), short).is_err());
        let mut changed = bytes.clone();
        let at = at.index(bytes.len());
        changed[at] = with;
        if let Ok(read) = codec.decode(&session(), &changed) {
            assert_same(&read, &record());
            // A change that keeps the record can only be in the spelling of its header line.
            let line = changed.iter().position(|byte| *byte == b'\n').expect("a line");
            prop_assert!(changed == bytes || (!sealed && at <= line));
        }
    }

    /// Property: random bytes are an error. The decoder does not panic.
    #[test]
    fn noise_is_an_error(noise in prop::collection::vec(any::<u8>(), 0..300), with_magic: bool) {
        let mut bytes = if with_magic { b"token-rotator-session 1 ".to_vec() } else { Vec::new() };
        bytes.extend(noise);
        prop_assert!(RecordCodec::sealed(key(1)).decode(&session(), &bytes).is_err());
    }
}

/// Damaged records, each with the name of its file in the corpus.
fn damaged(good: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let line = good.iter().position(|byte| *byte == b'\n').expect("a line");
    let changed = |at: usize, to: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = to;
        bytes
    };
    let renamed = |from: &str, to: &str| {
        let text = String::from_utf8_lossy(&good[..line]).replace(from, to);
        [text.as_bytes(), &good[line..]].concat()
    };
    vec![
        ("empty", Vec::new()),
        ("cut-in-the-line", good[..line / 2].to_vec()),
        ("cut-after-the-line", good[..=line].to_vec()),
        ("cut-by-a-byte", good[..good.len() - 1].to_vec()),
        ("longer-by-a-byte", [good, b"x"].concat()),
        (
            "a-bit-turned",
            changed(good.len() - 1, good[good.len() - 1] ^ 1),
        ),
        ("zeros", vec![0; good.len()]),
        ("line-not-text", changed(3, 0xff)),
        ("foreign", b"{\"access_token\":\"mine\"}\n".to_vec()),
        ("newer", renamed("session 1 ", "session 2 ")),
        ("format-no-number", renamed("session 1 ", "session one ")),
        (
            "revision-changed",
            renamed("\"revision\":", "\"revision\":1"),
        ),
        (
            "revision-too-large",
            renamed("\"revision\":", "\"revision\":99999999999999999999"),
        ),
        ("another-session", renamed("\"work\"", "\"play\"")),
        ("unknown-cipher", renamed("xchacha20poly1305", "rot13")),
        ("nonce-short", renamed("\"nonce\":\"", "\"nonce\":\"0")),
        ("key-changed", renamed("\"key_id\":\"", "\"key_id\":\"00")),
    ]
}

/// Property: each damaged record of the fuzzing corpus is a typed error. `BLESS=1` writes the corpus
/// again.
#[test]
fn each_damaged_record_of_the_corpus_is_an_error() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/record");
    let codec = RecordCodec::sealed(key(7));
    if std::env::var_os("BLESS").is_some_and(|bless| bless == "1") {
        std::fs::create_dir_all(&corpus).expect("writable");
        let good = codec.encode(&session(), &record()).expect("randomness");
        for (name, bytes) in damaged(&good) {
            std::fs::write(corpus.join(name), bytes).expect("writable");
        }
        let plain = RecordCodec::plaintext().encode(&session(), &record());
        std::fs::write(corpus.join("good-plain"), plain.expect("a record")).expect("writable");
        std::fs::write(corpus.join("good-sealed"), good).expect("writable");
    }
    let (mut good, mut bad) = (0, 0);
    for entry in std::fs::read_dir(corpus).expect("the corpus") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let bytes = std::fs::read(&path).expect("readable");
        if name.len() == 40 {
            // The fuzzer added this file: it names files by their hash.
            continue;
        }
        match name.as_str() {
            "good-sealed" => {
                assert_same(&codec.decode(&session(), &bytes).expect("good"), &record());
                good += 1;
            }
            // Records of the version before, which wrote no details.
            "before-details-plain" | "before-details-sealed" => {
                let codec = match name.as_str() {
                    "before-details-plain" => RecordCodec::plaintext(),
                    _ => codec.clone(),
                };
                let without = tokens().with_refresh_expiry(Expiry::Unknown);
                let expected = Record {
                    tokens: Some(Arc::new(without)),
                    details: Box::default(),
                    ..record()
                };
                assert_same(&codec.decode(&session(), &bytes).expect("good"), &expected);
                good += 1;
            }
            "good-plain" => {
                let plain = RecordCodec::plaintext();
                assert_same(&plain.decode(&session(), &bytes).expect("good"), &record());
                good += 1;
            }
            _ => {
                let error = codec.decode(&session(), &bytes).expect_err(&name);
                let kind = match name.as_str() {
                    "newer" => StoreErrorKind::Newer,
                    "key-changed" => StoreErrorKind::Corrupt,
                    _ => error.kind(),
                };
                assert_eq!(error.kind(), kind, "{name}: {error}");
                assert_ne!(error.kind(), StoreErrorKind::Unavailable, "{name}");
                assert!(!error.to_string().contains("token\""), "{error}");
                bad += 1;
            }
        }
    }
    assert!(good == 4 && bad >= 17, "{good} good, {bad} bad");
}

/// Encodes this JSON as the body of a plaintext record of version 1.
fn with_body(body: &str) -> Vec<u8> {
    let version = Version::new(Epoch::from_bits(1), 1);
    let cipher = Cipher::plain(&digest(&session(), version, body.as_bytes()));
    let mut bytes = header::write(&session(), version, &cipher, false).into_bytes();
    bytes.extend_from_slice(body.as_bytes());
    bytes
}

/// Property: a record of the version before, without details, is read without an error.
#[test]
fn a_record_without_details_is_read() {
    let body = r#"{"tokens":{"access_token":"a","token_type":"Bearer","refresh_token":"r"}}"#;
    let record = RecordCodec::plaintext().decode(&session(), &with_body(body));
    let record = record.expect("a record");
    assert!(record.tokens.is_some());
    assert_same_details(&record.details, &RecordDetails::default());
}

/// Property: a failure that is not readable has no effect, and a readable one beside it stays. The
/// same holds for the other details, except the binding: an unreadable binding is an error.
#[test]
fn unreadable_details_have_no_effect() {
    let tokens = r#""tokens":{"access_token":"a","token_type":"Bearer"}"#;
    let good = r#"{"kind":"transient","message":"503","wait_ms":500,"host":"a","at":{"wall_ms":1},"in_a_row":1}"#;
    let codec = RecordCodec::plaintext();
    let cases = [
        (format!("[{good},{{\"kind\":\"new kind\"}},7,null]"), 1),
        (format!("[{{\"kind\":\"transient\"}},{good}]"), 1),
        ("\"text\"".to_owned(), 0),
        ("null".to_owned(), 0),
        ("{}".to_owned(), 0),
    ];
    for (failures, readable) in cases {
        let body = format!(
            r#"{{{tokens},"failures":{failures},"unexplained":[1],"received":"now","refused_content":{{}}}}"#
        );
        let record = codec.decode(&session(), &with_body(&body)).expect(&body);
        assert_eq!(record.failures().len(), readable, "{body}");
        assert_eq!(record.unexplained_refusals(), None);
        assert_eq!(record.received(), None);
        assert_eq!(record.refused_content(), None);
    }
    let body = format!(r#"{{{tokens},"binding":7}}"#);
    let error = codec.decode(&session(), &with_body(&body));
    assert_eq!(error.expect_err("unbound").kind(), StoreErrorKind::Corrupt);
}

/// Property: a record keeps one failure for each host and scope, and at most 8 failures.
#[test]
fn the_failures_of_a_record_are_bounded() {
    let at = StoreTime::by_wall(SystemTime::UNIX_EPOCH);
    let failure = |host: usize, message: &str| {
        SharedFailure::new(FailureKind::NotSent, message, &format!("host-{host}"), at)
    };
    let mut record = record();
    record.details.failures.clear();
    for host in (0..12).chain(8..12) {
        record = record.with_failure(failure(host, "first"));
    }
    record = record.with_failure(failure(9, "second"));
    let hosts: Vec<_> = record
        .failures()
        .iter()
        .map(|failure| &*failure.host)
        .collect();
    let expected = [
        "host-4", "host-5", "host-6", "host-7", "host-8", "host-10", "host-11", "host-9",
    ];
    assert_eq!(hosts, expected);
    assert_eq!(record.failures()[7].message, "second");
}

/// A writer of the store who has no key cannot forge a tombstone: a tombstone is sealed, and
/// one that the key did not seal is marked.
#[test]
fn a_tombstone_is_sealed_where_the_key_is_at_hand() {
    let key = DataKey::generate(KeySource::File).expect("a key");
    let sealed = RecordCodec::sealed(key);
    let tombstone = Record::signed_out(record().version);
    let read = |codec: &RecordCodec, bytes: &[u8]| {
        let record = codec.decode(&session(), bytes).expect("readable");
        assert!(record.is_signed_out());
        record.is_unsealed_sign_out()
    };
    let bytes = sealed.encode(&session(), &tombstone).expect("encoded");
    assert!(!read(&sealed, &bytes));
    let header = RecordHeader::read(&session(), &bytes).expect("a header");
    assert!(header.sealed_with().is_some());
    // Without the key, or with another one, the tombstone can still be read and replaced.
    let other = RecordCodec::sealed(DataKey::generate(KeySource::File).expect("a key"));
    assert!(read(&other, &bytes));
    assert!(read(&RecordCodec::plaintext(), &bytes));
    let forged = RecordCodec::plaintext().encode(&session(), &tombstone);
    let forged = forged.expect("encoded");
    assert!(read(&sealed, &forged));
    assert!(!read(&RecordCodec::plaintext(), &forged));
    // The mark in the header is sealed: it turns no record with tokens into a tombstone.
    let bytes = sealed.encode(&session(), &record()).expect("encoded");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let end = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .expect("a line");
    let line = text.lines().next().expect("a line");
    let marked = line.replace('}', ",\"signed_out\":true}");
    let marked = [marked.as_bytes(), &bytes[end..]].concat();
    let error = sealed.decode(&session(), &marked).expect_err("damaged");
    assert_eq!(error.kind(), StoreErrorKind::Corrupt);
}
