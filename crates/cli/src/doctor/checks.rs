//! What is looked at.

use std::error::Error as _;
use std::time::{Duration, SystemTime};

use http::{Request, Uri, header};
use token_rotator::{FileStore, Origin};
use token_rotator_oauth2::{SecretBytes, Transport as _};

use super::finding::Finding;
use crate::command_error::CommandError;
use crate::config::{GrantChoice, SessionName};
use crate::session::{Endpoint, Endpoints, Home, Session, StoreKind, store_failed};
use crate::status::{Outcome, State, Status};
use crate::table;

/// How far clocks may be apart before tokens seem to expire at the wrong time.
const SKEW_MAX: Duration = Duration::from_secs(30);
/// How long the issuer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What all sessions share.
pub(super) async fn of_home(home: &Home, names: &[SessionName]) -> Vec<Finding> {
    let places = &home.config.places;
    let file = places.config_file.display();
    let configuration = if places.config_file.exists() {
        Finding::good("configuration", format!("{file} can be read"))
    } else {
        Finding::good(
            "configuration",
            format!("there is no {file}, and none is needed"),
        )
    };
    let store = match &home.store.kind {
        StoreKind::File(store) => match store.check().await {
            Ok(()) => {
                let directory = store.directory().display();
                let what = format!("{directory}, which only its owner may read");
                Finding::good("store", what)
            }
            Err(error) => {
                let error = store_failed("it takes no session", &error);
                Finding::bad("store", error.to_string(), error.hint_text())
            }
        },
        StoreKind::Redis(_) => Finding::good("store", "on a Redis server"),
        StoreKind::Postgres(_) => Finding::good("store", "on a PostgreSQL server"),
    };
    let mut findings = vec![configuration, store];
    if names.is_empty() {
        findings.push(Finding::fair(
            "sessions",
            "there are none",
            "make one with `token-rotator login --issuer URL --client-id ID`",
        ));
    }
    findings
}

/// What one session needs.
pub(super) async fn of_session(session: &Session<'_>) -> Vec<Finding> {
    let mut findings = vec![client(session)];
    findings.extend(issuer(session).await);
    findings.extend(state(session).await);
    findings.extend(history(session));
    let name = session.name.as_str();
    findings
        .into_iter()
        .map(|finding| finding.of(name))
        .collect()
}

fn client(session: &Session<'_>) -> Finding {
    let settings = &session.settings;
    let checked = settings
        .client_id()
        .and_then(|id| settings.client_auth().map(|_| id));
    match checked {
        Ok(id) => Finding::good("client", format!("`{id}`")),
        Err(error) => Finding::bad("client", error.to_string(), error.hint_text()),
    }
}

/// Whether the issuer says where its endpoints are, whether it answers there, and what time it is.
async fn issuer(session: &Session<'_>) -> Vec<Finding> {
    let endpoints = Endpoints::new(&session.settings, session.transport.clone());
    let mut findings = Vec::from_iter(discovery(session, &endpoints).await);
    let metadata = match endpoints.find(&[Endpoint::Token]).await {
        Ok(metadata) => metadata,
        // It has been told.
        Err(_) if !findings.is_empty() => return findings,
        Err(error) => {
            let error = CommandError::from(error);
            return vec![Finding::bad("issuer", error.to_string(), error.hint_text())];
        }
    };
    match metadata.token_endpoint() {
        Some(endpoint) => findings.extend(answers(session, endpoint).await),
        None => findings.push(Finding::bad(
            "issuer",
            "its metadata names no token endpoint",
            "give it: `token_endpoint` in the configuration, or `--token-endpoint` at the next login",
        )),
    }
    findings
}

/// What the issuer says of itself, if the session names one.
async fn discovery(session: &Session<'_>, endpoints: &Endpoints) -> Option<Finding> {
    let settings = &session.settings;
    let issuer = settings.issuer.as_ref()?;
    let metadata = match endpoints.discover().await {
        Ok(metadata) => metadata,
        Err(error) => {
            let error = CommandError::from(error);
            // Whoever has configured all that a refresh needs is hampered at the next login at most.
            let finding = match settings.token_endpoint {
                Some(_) => Finding::fair,
                None => Finding::bad,
            };
            return Some(finding(
                "discovery",
                error.to_string(),
                error.hint_text().to_owned(),
            ));
        }
    };
    let (missing, key) = match settings.grant() {
        GrantChoice::AuthorizationCode => (
            metadata.authorization_endpoint().is_none()
                && settings.authorization_endpoint.is_none(),
            "authorization_endpoint",
        ),
        GrantChoice::Device => (
            metadata.device_authorization_endpoint().is_none()
                && settings.device_authorization_endpoint.is_none(),
            "device_authorization_endpoint",
        ),
        GrantChoice::ClientCredentials | GrantChoice::RefreshToken => (false, ""),
    };
    Some(if missing {
        Finding::fair(
            "discovery",
            format!("{issuer} names no `{key}`"),
            "the next login needs it: configure it, or choose another `grant`",
        )
    } else {
        Finding::good(
            "discovery",
            format!("{issuer} says where its endpoints are"),
        )
    })
}

/// Whether the issuer answers, and what time it is there.
async fn answers(session: &Session<'_>, endpoint: &Uri) -> Vec<Finding> {
    let origin = Origin::of(endpoint);
    let place = origin.map_or_else(|| "it".to_owned(), |origin| origin.to_string());
    let mut request = Request::new(SecretBytes::default());
    request.uri_mut().clone_from(endpoint);
    let began = SystemTime::now();
    let answer = tokio::time::timeout(PATIENCE, session.transport.send(request)).await;
    let answer = match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            let causes = std::iter::successors(error.source(), |cause| (*cause).source());
            let what = causes.fold(
                format!("{place} does not answer: {error}"),
                |what, cause| format!("{what}: {cause}"),
            );
            return vec![Finding::bad(
                "issuer",
                what,
                "check the network, proxies and certificates",
            )];
        }
        Err(_late) => {
            return vec![late(&place)];
        }
    };
    let mut findings = vec![Finding::good("issuer", format!("{place} answers"))];
    let date = answer
        .headers()
        .get(header::DATE)
        .and_then(|date| date.to_str().ok());
    if let Some(there) = date.and_then(|date| httpdate::parse_http_date(date).ok()) {
        findings.push(clock(began, there));
    }
    findings
}

fn late(place: &str) -> Finding {
    Finding::bad(
        "issuer",
        format!("{place} does not answer within {PATIENCE:?}"),
        "check the network and proxies, or ask whoever runs the issuer",
    )
}

/// An issuer's `Date` is cut to a second, and may be from any time of the request.
fn clock(here: SystemTime, there: SystemTime) -> Finding {
    let (apart, word) = match here.duration_since(there) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if apart <= SKEW_MAX {
        return Finding::good("clock", "this machine's agrees with the issuer's");
    }
    let seconds = apart.as_secs();
    Finding::fair(
        "clock",
        format!("this machine's is {seconds} s {word} the issuer's"),
        "set it by NTP; tokens that say when they expire seem to do so too early or too late",
    )
}

async fn state(session: &Session<'_>) -> Vec<Finding> {
    let status = match Status::of(session).await {
        Ok(status) => status,
        Err(error) => return vec![Finding::bad("record", error.to_string(), error.hint_text())],
    };
    let login = format!(
        "sign in with `token-rotator login --session {}`",
        session.name
    );
    let mut findings = vec![match status.state {
        State::Good => Finding::good("session", "its token is good"),
        State::Expired => Finding::good(
            "session",
            "its token has expired; the next use refreshes it",
        ),
        State::Ended => Finding::bad("session", "the issuer has refused its refresh token", login),
        State::SignedOut => Finding::bad("session", "somebody has signed out", login),
        State::New if session.settings.is_for_client() => {
            Finding::good("session", "the client signs in by itself at the first use")
        }
        State::New => Finding::bad("session", "nobody has signed in yet", login),
    }];
    match status.journal.map(|journal| journal.outcome) {
        Some(Outcome::Open) => findings.push(Finding::fair(
            "journal",
            "a refresh is in the air, or its process died",
            "whoever needs a token next goes by the session's profile; nothing has to be done",
        )),
        Some(Outcome::Uncertain) => findings.push(Finding::fair(
            "journal",
            "a refresh got no answer; its refresh token may be spent",
            format!(
                "it is presented again when the profile allows, or when nothing else is left; \
                 `token-rotator token --session {} --refresh` does it now",
                session.name
            ),
        )),
        Some(Outcome::Refused) | None => {}
    }
    if let Some(failure) = &status.last_failure {
        findings.push(Finding::good(
            "last failure",
            format!("{}: {}", table::ago(failure.at), failure.happening.detail()),
        ));
    }
    if let StoreKind::File(store) = session.store_kind() {
        findings.extend(holder(session, store));
    }
    findings
}

fn holder(session: &Session<'_>, store: &FileStore) -> Option<Finding> {
    let holder = store.locks().holder(&session.key()).ok()??;
    stopped(holder.process, holder.since.elapsed().unwrap_or_default())
}

/// A lease that is held for longer than any flight is somebody's who was stopped.
fn stopped(process: u32, held: Duration) -> Option<Finding> {
    (held > Duration::from_secs(60)).then(|| {
        Finding::bad(
            "lease",
            format!("process {process} has held it for {} s", held.as_secs()),
            format!("continue the process (`kill -CONT {process}`) or end it"),
        )
    })
}

fn history(session: &Session<'_>) -> Option<Finding> {
    let error = session.history.read().err()?;
    let file = session.history.file().display();
    Some(Finding::fair(
        "history",
        format!("{file} cannot be read: {error}"),
        "remove it; it is only looked at",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(findings: impl IntoIterator<Item = Finding>) -> String {
        let text: String = findings.into_iter().map(|finding| finding.text()).collect();
        anstream::adapter::strip_str(&text).to_string()
    }

    /// Clocks that agree, and that do not, on both sides.
    #[test]
    fn clocks() {
        let now = SystemTime::now();
        let off = Duration::from_secs(3600);
        let found = [now, now + off, now - off].map(|there| clock(now, there));
        insta::assert_snapshot!(text(found), @"
        ok   clock: this machine's agrees with the issuer's
        note clock: this machine's is 3600 s behind the issuer's
             hint: set it by NTP; tokens that say when they expire seem to do so too early or too late
        note clock: this machine's is 3600 s ahead of the issuer's
             hint: set it by NTP; tokens that say when they expire seem to do so too early or too late
        ");
    }

    #[test]
    fn an_issuer_that_takes_too_long() {
        insta::assert_snapshot!(text([late("https://issuer.example")]), @"
        bad  issuer: https://issuer.example does not answer within 10s
             hint: check the network and proxies, or ask whoever runs the issuer
        ");
    }

    /// A lease that is held for a while is somebody's work; one that is held for too long is not.
    #[test]
    fn leases() {
        assert!(stopped(7, Duration::from_secs(60)).is_none());
        insta::assert_snapshot!(text(stopped(7, Duration::from_secs(61))), @"
        bad  lease: process 7 has held it for 61 s
             hint: continue the process (`kill -CONT 7`) or end it
        ");
    }
}
