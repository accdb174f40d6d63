//! The checks of a stored session.

use jiff::Timestamp;
use token_rotator::FileStore;

use super::checks::lease_held_too_long;
use super::finding::Finding;
use crate::config::SessionName;
use crate::session::history::{FailureLabel, HistoryEvent};
use crate::session::{NamedSession, StoreKind, sign_in};
use crate::status::{FailureStatus, IntentState, SessionState, SessionStatus};
use crate::table;

/// Checks the stored session: whether the next command gets a token.
pub(super) async fn check(session: &NamedSession<'_>) -> Vec<Finding> {
    let status = match SessionStatus::of(session).await {
        Ok(status) => status,
        Err(error) => return vec![Finding::bad("record", error.to_string(), error.hint_text())],
    };
    let login = sign_in(&session.name);
    let ends = status.refresh_token_ends();
    let is_over = status.has_refresh_token && ends.is_some_and(|left| !left.is_positive());
    let mut findings = vec![match status.state {
        SessionState::Good => Finding::good("session", "its token is valid"),
        SessionState::Expired if is_over => Finding::bad(
            "session",
            "its token and its refresh token have expired",
            login,
        ),
        SessionState::Expired if status.has_refresh_token || session.settings.is_for_client() => {
            Finding::good(
                "session",
                "its token has expired; the next use refreshes it",
            )
        }
        SessionState::Expired => Finding::bad(
            "session",
            "its token has expired, and it has no refresh token",
            session.settings.offline_hint(&session.name),
        ),
        SessionState::Ended => {
            Finding::bad("session", "the issuer has refused its refresh token", login)
        }
        SessionState::Refused => refused_without_reason(&session.name),
        SessionState::SignedOut => Finding::bad("session", "the user has signed out", login),
        SessionState::New if session.settings.is_for_client() => {
            Finding::good("session", "the client signs in by itself at the first use")
        }
        SessionState::New => Finding::bad("session", "no user has signed in yet", login),
    }];
    match status.journal.map(|journal| journal.outcome) {
        Some(IntentState::Open) => findings.push(Finding::fair(
            "journal",
            "a refresh is in flight, or its process died",
            "no action is needed: the next command that needs a token resolves it by the profile",
        )),
        Some(IntentState::Uncertain) => findings.push(Finding::fair(
            "journal",
            "a refresh got no answer; its refresh token may be spent",
            format!(
                "it is presented again when the profile allows, or when nothing else is left; \
                 `token-rotator token --session {} --refresh` does it now",
                session.name
            ),
        )),
        Some(IntentState::Refused) | None => {}
    }
    findings.extend(check_refresh_token(session, &status));
    findings.extend(check_shared_failures(session, &status));
    findings.extend(check_last_failure(session, &status));
    if let StoreKind::File(store) = session.store_kind() {
        findings.extend(check_lease(session, store));
    }
    findings
}

/// Checks that the session can be refreshed when its access token expires.
fn check_refresh_token(session: &NamedSession<'_>, status: &SessionStatus) -> Option<Finding> {
    let login = sign_in(&session.name);
    if status.has_refresh_token {
        let at = status.refresh_token_expires_at?;
        return match status.refresh_token_ends() {
            None => None,
            Some(left) if left.is_positive() => Some(Finding::fair(
                "refresh token",
                format!("it expires {}", table::until(at)),
                format!("{login} before"),
            )),
            // The finding of the session says it.
            Some(_) if status.state == SessionState::Expired => None,
            Some(_) => Some(Finding::bad("refresh token", "it has expired", login)),
        };
    }
    if status.state != SessionState::Good || session.settings.is_for_client() {
        return None;
    }
    let hint = session.settings.offline_hint(&session.name);
    Some(match status.expires_at {
        Some(at) => Finding::bad(
            "refresh token",
            format!(
                "the issuer gave none: the session ends when its access token expires, {}",
                table::until(at)
            ),
            hint,
        ),
        None => Finding::fair(
            "refresh token",
            "the issuer gave none: the session ends when its access token is refused",
            hint,
        ),
    })
}

/// Reports the last failure, unless a later sign-in or refresh succeeded. It is bad if the next command
/// that needs a token would fail in the same way.
/// Reports the failures that processes share. One that holds for all processes is bad if the next
/// `token` fails because of it.
fn check_shared_failures(session: &NamedSession<'_>, status: &SessionStatus) -> Vec<Finding> {
    // A failure that holds for all processes harms nothing while the token is good. The last failure is a
    // finding of its own.
    let fails =
        |failure: &FailureStatus| failure.holds_for_all() && status.state != SessionState::Good;
    let failures = status
        .shared_failures
        .iter()
        .filter(|failure| failure.is_partial() || fails(failure));
    let findings = failures.map(|failure| {
        let what = failure.text();
        let hint = see_on_that_host(&session.name);
        let finding = if fails(failure) {
            Finding::bad
        } else {
            Finding::fair
        };
        finding("shared failure", what, hint)
    });
    findings.collect()
}

fn check_last_failure(session: &NamedSession<'_>, status: &SessionStatus) -> Option<Finding> {
    let failure = status.last_failure.as_ref()?;
    let what = format!("{}: {}", table::ago(failure.at), failure.event.detail());
    if status.is_failure_resolved {
        return Some(Finding::good(
            "last failure",
            format!("{what}; it works since"),
        ));
    }
    let hint = match failure.event.hint() {
        Some(hint) => hint.to_owned(),
        None => format!(
            "`token-rotator history --session {}` shows what happened before",
            session.name
        ),
    };
    // A signed-out or ended session has a finding with the action already.
    let needs_refresh = matches!(status.state, SessionState::Expired | SessionState::New);
    let fails_again = needs_refresh
        && match &failure.event {
            HistoryEvent::RefreshFailed {
                kind, cool_down_ms, ..
            } => {
                let cools_until = i64::try_from(*cool_down_ms)
                    .ok()
                    .and_then(|wait| {
                        let wait = jiff::SignedDuration::from_millis(wait);
                        failure.at.checked_add(wait).ok()
                    })
                    .is_some_and(|until| until > Timestamp::now());
                let lasts = matches!(
                    kind,
                    Some(FailureLabel::Misconfigured | FailureLabel::Terminal)
                );
                lasts || cools_until
            }
            HistoryEvent::Ended { .. } | HistoryEvent::ReuseDetected { .. } => true,
            _ => false,
        };
    Some(if fails_again {
        Finding::bad("last failure", what, hint)
    } else {
        Finding::fair("last failure", what, hint)
    })
}

fn check_lease(session: &NamedSession<'_>, store: &FileStore) -> Option<Finding> {
    let holder = store.locks().holder(&session.key()).ok()??;
    lease_held_too_long(holder.process, holder.since.elapsed().unwrap_or_default())
}

fn refused_without_reason(name: &SessionName) -> Finding {
    Finding::bad(
        "session",
        "the issuer refuses to refresh it and gives no reason",
        format!(
            "{}; if a gateway in between is at fault, `token-rotator token --session {name} --refresh` \
             tries again",
            sign_in(name)
        ),
    )
}

fn see_on_that_host(name: &SessionName) -> String {
    format!("wait, or see on that host what is wrong: `token-rotator doctor --session {name}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_processes_met() {
        let name = "work".parse().expect("a name");
        let elsewhere = Finding::fair("shared failure", "host db: busy", see_on_that_host(&name));
        let text = [refused_without_reason(&name), elsewhere].map(|finding| finding.text());
        let text = anstream::adapter::strip_str(&text.concat()).to_string();
        insta::assert_snapshot!(text, @"
        bad  session: the issuer refuses to refresh it and gives no reason
             hint: sign in with `token-rotator login --session work`; if a gateway in between is at fault, `token-rotator token --session work --refresh` tries again
        note shared failure: host db: busy
             hint: wait, or see on that host what is wrong: `token-rotator doctor --session work`
        ");
    }
}
