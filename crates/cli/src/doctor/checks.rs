//! The checks: first the setup that all sessions share, then each session.

use std::error::Error as _;
use std::time::{Duration, SystemTime};

use http::{Request, Uri, header};
use token_rotator::Origin;
use token_rotator_oauth2::{SecretBytes, Transport as _};

use super::finding::Finding;
use super::{binding, files, record};
use crate::command_error::CommandError;
use crate::config::{GrantChoice, SessionName};
use crate::session::{Context, Endpoint, Endpoints, NamedSession, StoreKind, store_failed};

/// How far clocks may differ before tokens appear to expire at the wrong time.
const SKEW_MAX: Duration = Duration::from_secs(30);
/// How long to wait for the issuer's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Checks the configuration, the store and whether there are sessions.
pub(super) async fn check_setup(context: &Context, names: &[SessionName]) -> Vec<Finding> {
    let paths = &context.config.paths;
    let file = paths.config_file.display();
    let configuration = if paths.config_file.exists() {
        Finding::good("configuration", format!("{file} can be read"))
    } else {
        Finding::good(
            "configuration",
            format!("there is no {file}, and none is needed"),
        )
    };
    let store = match &context.store.kind {
        StoreKind::File(store) => match store.check().await {
            Ok(()) => {
                let directory = store.directory().display();
                let what = format!("{directory}, which only its owner may read");
                Finding::good("store", what)
            }
            Err(error) => {
                let error = store_failed("it cannot store sessions", &error);
                Finding::bad("store", error.to_string(), error.hint_text())
            }
        },
        StoreKind::Redis(_) => Finding::good("store", "on a Redis server"),
        StoreKind::Postgres(_) => Finding::good("store", "on a PostgreSQL server"),
    };
    let mut findings = vec![configuration, store];
    findings.extend(files::check_key_file(context));
    if names.is_empty() {
        findings.push(Finding::fair(
            "sessions",
            "there are none",
            "make one with `token-rotator login --issuer URL --client-id ID`",
        ));
    }
    findings
}

/// Checks one session: its client, its issuer, its record and its history.
pub(super) async fn check_session(session: &NamedSession<'_>) -> Vec<Finding> {
    let mut findings = vec![check_client(session)];
    findings.extend(files::check_secret_file(session));
    findings.extend(check_issuer(session).await);
    findings.extend(binding::check_binding(session).await);
    findings.extend(binding::check_sign_out(session).await);
    findings.extend(record::check(session).await);
    findings.extend(check_history(session));
    let name = session.name.as_str();
    findings
        .into_iter()
        .map(|finding| finding.of(name))
        .collect()
}

fn check_client(session: &NamedSession<'_>) -> Finding {
    let settings = &session.settings;
    let checked = settings
        .client_id()
        .and_then(|id| settings.client_auth(None).map(|_| id));
    match checked {
        Ok(id) => Finding::good("client", format!("`{id}`")),
        Err(error) => Finding::bad("client", error.to_string(), error.hint_text()),
    }
}

/// Checks the discovery of the endpoints, the token endpoint and the issuer's clock.
async fn check_issuer(session: &NamedSession<'_>) -> Vec<Finding> {
    let endpoints = session.endpoints();
    let mut findings = check_discovery(session, &endpoints).await;
    let metadata = match endpoints.find(&[Endpoint::Token]).await {
        Ok(metadata) => metadata,
        // The finding of the discovery already reports the error.
        Err(_) if !findings.is_empty() => return findings,
        Err(error) => {
            let error = CommandError::from(error);
            return vec![Finding::bad("issuer", error.to_string(), error.hint_text())];
        }
    };
    match metadata.token_endpoint() {
        Some(endpoint) => findings.extend(check_token_endpoint(session, endpoint).await),
        None => findings.push(Finding::bad(
            "issuer",
            "its metadata names no token endpoint",
            "give it: `token_endpoint` in the configuration, or `--token-endpoint` at the next login",
        )),
    }
    findings
}

/// Checks the issuer's metadata. Returns no finding if the session names no issuer.
async fn check_discovery(session: &NamedSession<'_>, endpoints: &Endpoints) -> Vec<Finding> {
    let settings = &session.settings;
    let Some(issuer) = &settings.issuer else {
        return Vec::new();
    };
    let metadata = match endpoints.discover().await {
        Ok(metadata) => metadata,
        Err(error) => {
            let error = CommandError::from(error);
            // With a configured token endpoint refreshes work; at most the next login fails.
            let finding = match settings.token_endpoint {
                Some(_) => Finding::fair,
                None => Finding::bad,
            };
            let what = error.to_string();
            return vec![finding("discovery", what, error.hint_text().to_owned())];
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
    let unusable = metadata.unusable_endpoints().map(|(which, problem)| {
        Finding::fair(
            "discovery",
            format!("{problem}; the {which} is left out"),
            problem
                .hint()
                .unwrap_or("let the issuer correct its document"),
        )
    });
    let unusable: Vec<_> = unusable.collect();
    let found = if missing {
        Finding::fair(
            "discovery",
            format!("{issuer} names no `{key}`"),
            "the next login needs it: configure it, or choose another `grant`",
        )
    } else {
        Finding::good("discovery", format!("{issuer} publishes its endpoints"))
    };
    std::iter::once(found).chain(unusable).collect()
}

/// Checks that the token endpoint answers, and compares the clocks.
async fn check_token_endpoint(session: &NamedSession<'_>, endpoint: &Uri) -> Vec<Finding> {
    let origin = Origin::of(endpoint);
    let origin_text = origin.map_or_else(|| "it".to_owned(), |origin| origin.to_string());
    let mut request = Request::new(SecretBytes::default());
    request.uri_mut().clone_from(endpoint);
    let began = SystemTime::now();
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, session.transport.send(request)).await;
    let answer = match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            let causes = std::iter::successors(error.source(), |cause| (*cause).source());
            let what = causes.fold(
                format!("{origin_text} does not answer: {error}"),
                |what, cause| format!("{what}: {cause}"),
            );
            let hint = error.hint();
            let hint = hint.unwrap_or("check the network, proxies and certificates");
            return vec![Finding::bad("issuer", what, hint)];
        }
        Err(_late) => {
            return vec![timed_out(&origin_text)];
        }
    };
    let mut findings = vec![Finding::good("issuer", format!("{origin_text} answers"))];
    let date = answer
        .headers()
        .get(header::DATE)
        .and_then(|date| date.to_str().ok());
    if let Some(there) = date.and_then(|date| httpdate::parse_http_date(date).ok()) {
        findings.push(compare_clocks(began, there));
    }
    findings
}

fn timed_out(origin: &str) -> Finding {
    Finding::bad(
        "issuer",
        format!("{origin} does not answer within {ANSWER_TIMEOUT:?}"),
        "check the network and proxies, or ask the issuer's operator",
    )
}

/// Compares this machine's clock with the issuer's `Date` header, which has whole seconds and may be
/// from any moment of the request.
fn compare_clocks(here: SystemTime, there: SystemTime) -> Finding {
    let (apart, direction) = match here.duration_since(there) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if apart <= SKEW_MAX {
        return Finding::good("clock", "this machine's clock agrees with the issuer's");
    }
    let seconds = apart.as_secs();
    Finding::fair(
        "clock",
        format!("this machine's clock is {seconds} s {direction} the issuer's"),
        "set this machine's clock by NTP; otherwise tokens appear to expire too early or too late",
    )
}

/// Reports a lease that is held longer than any flight lasts: its process was stopped.
pub(super) fn lease_held_too_long(process: u32, held: Duration) -> Option<Finding> {
    (held > Duration::from_secs(60)).then(|| {
        Finding::bad(
            "lease",
            format!(
                "process {process} has held the lease for {} s",
                held.as_secs()
            ),
            format!("continue the process (`kill -CONT {process}`) or end it"),
        )
    })
}

fn check_history(session: &NamedSession<'_>) -> Option<Finding> {
    let error = session.history.read().err()?;
    let file = session.history.file().display();
    Some(Finding::fair(
        "history",
        format!("{file} cannot be read: {error}"),
        "check who owns it, or remove it: sessions work without their history",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(findings: impl IntoIterator<Item = Finding>) -> String {
        let text: String = findings.into_iter().map(|finding| finding.text()).collect();
        anstream::adapter::strip_str(&text).to_string()
    }

    /// A difference is reported in both directions.
    #[test]
    fn clocks() {
        let now = SystemTime::now();
        let off = Duration::from_secs(3600);
        let found = [now, now + off, now - off].map(|there| compare_clocks(now, there));
        insta::assert_snapshot!(text(found), @"
        ok   clock: this machine's clock agrees with the issuer's
        note clock: this machine's clock is 3600 s behind the issuer's
             hint: set this machine's clock by NTP; otherwise tokens appear to expire too early or too late
        note clock: this machine's clock is 3600 s ahead of the issuer's
             hint: set this machine's clock by NTP; otherwise tokens appear to expire too early or too late
        ");
    }

    #[test]
    fn an_issuer_that_takes_too_long() {
        insta::assert_snapshot!(text([timed_out("https://issuer.example")]), @"
        bad  issuer: https://issuer.example does not answer within 10s
             hint: check the network and proxies, or ask the issuer's operator
        ");
    }

    /// A lease is reported only if it is held longer than a flight can last.
    #[test]
    fn leases() {
        assert!(lease_held_too_long(7, Duration::from_secs(60)).is_none());
        insta::assert_snapshot!(text(lease_held_too_long(7, Duration::from_secs(61))), @"
        bad  lease: process 7 has held the lease for 61 s
             hint: continue the process (`kill -CONT 7`) or end it
        ");
    }
}
