//! Tests what a rotator checks and reports about a token set, whichever way it comes in.

use std::time::Duration;

use token_rotator::{Event, Expiry, ExposeSecret, RefreshError, TokenError, TokenSet};

use crate::common::{EventLog, Fixture, IssuerAction, secret};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Property: a text with a control character is refused at a sign-in and in an answer. The refresh
/// token of such an answer is kept.
#[tokio::test(start_paused = true)]
async fn a_text_with_a_control_character_is_refused() {
    for bad in ["a\r\nX-Injected: 1", "a\u{1b}]0;title\u{7}", "a\0b"] {
        let fixture = Fixture::new();
        let rotator = fixture.builder().build().expect("a rotator");
        for tokens in [
            TokenSet::bearer("a").with_id_token(bad),
            TokenSet::bearer("a").with_scope(bad),
            TokenSet::bearer("a").with_refresh_token(bad),
        ] {
            assert!(rotator.sign_in(tokens).is_err(), "{bad:?}");
        }
        let rotator = fixture.signed_in().await;
        let spoils: [fn(TokenSet, &str) -> TokenSet; 2] = [
            |tokens, bad| tokens.with_id_token(bad),
            |tokens, bad| tokens.with_scope(bad),
        ];
        for spoil in spoils {
            let token = rotator.refresh_now().await.expect("a token");
            let next = spoil(fixture.issuer.spend(token.token_set()), bad);
            fixture.issuer.push_action(IssuerAction::Answer(next));
            let error = rotator.refresh_now().await.expect_err("an unusable answer");
            assert!(
                matches!(error, TokenError::Refresh(RefreshError::Unusable { .. })),
                "{error}"
            );
        }
        let token = rotator.refresh_now().await.expect("a token");
        let tokens = token.token_set();
        let id_token = tokens.id_token().map(ExposeSecret::expose_secret);
        assert!(id_token.is_none_or(|text| text != bad), "{bad:?}");
        assert_eq!(fixture.issuer.reuse_alarms(), 0, "{}", secret(&token));
    }
}

/// Property: the end of a refresh token is reported three days before it, once for each end.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_refresh_token_is_reported_three_days_before() {
    for (left, reports) in [(2 * DAY, 1), (4 * DAY, 0)] {
        let fixture = Fixture::new();
        let log = EventLog::default();
        let builder = fixture.builder().on_event(log.listener());
        let rotator = builder.build().expect("a rotator");
        let tokens = fixture.issuer.login();
        let tokens = tokens.with_refresh_expiry(Expiry::In(left));
        rotator
            .sign_in(tokens)
            .expect("usable")
            .await
            .expect("stored");
        let is_report = |event: &Event| matches!(event, Event::RefreshTokenExpiring { .. });
        assert_eq!(log.count(is_report), reports, "{left:?}");
        // An answer without a refresh token keeps the old one, and its end.
        let again = TokenSet::bearer("again");
        fixture.issuer.push_action(IssuerAction::Answer(again));
        let token = rotator.refresh_now().await.expect("a token");
        assert!(token.token_set().refresh_token_expires_at().is_some());
        assert_eq!(log.count(is_report), reports, "{left:?}");
    }
}
