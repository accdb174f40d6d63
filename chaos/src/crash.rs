//! One death at a chosen step of a flight, and what the next process makes of it.

use std::path::Path;
use std::time::{Duration, SystemTime};

use token_rotator::{Expiry, Rotator, SessionKey, SourceError, TokenSet};
use token_rotator_testkit::{Counters, Grant, Issuer, Upstream};

use crate::ground::Place;
use crate::herd::Herd;
use crate::said::Said;
use crate::spec::{Job, ProfileName, Spec, Timing};
use crate::steps::DieAt;

/// What was left after a crash, and what came of it.
#[derive(Clone, Debug)]
pub struct Aftermath {
    /// What the one said that died.
    pub died: Vec<Said>,
    /// What the next one said.
    pub next: Vec<Said>,
    /// What the issuer counted in all.
    pub counters: Counters,
    /// Whether the grant is alive.
    pub alive: bool,
}

/// One issuer, one API and one store with a session in it.
pub struct Scene {
    /// The issuer.
    pub issuer: Issuer,
    /// The API.
    pub api: Upstream,
    /// The sign-in.
    pub grant: Grant,
    /// Where its session is kept.
    pub place: Place,
    /// How the issuer treats used refresh tokens.
    pub profile: ProfileName,
    timing: Timing,
}

/// The session of every scene.
pub const SESSION: &str = "chaos";

impl Scene {
    /// Signs in, into this place.
    ///
    /// # Panics
    ///
    /// If the servers do not start or the store takes nothing.
    pub async fn set(
        place: Place,
        profile: ProfileName,
        timing: Timing,
        lifetime: Duration,
    ) -> Self {
        let issuer = Issuer::builder()
            .refresh_policy(profile.policy())
            .access_lifetime(lifetime)
            .start()
            .await
            .expect("an issuer");
        let api = Upstream::start(&issuer).await.expect("an API");
        let grant = issuer.sign_in("alice");
        let scene = Self {
            issuer,
            api,
            grant,
            place,
            profile,
            timing,
        };
        scene.sign_in(&scene.grant, lifetime).await;
        scene
    }

    /// Puts this sign-in into the store, good for so long: zero, expired.
    ///
    /// # Panics
    ///
    /// If the store takes nothing.
    pub async fn sign_in(&self, grant: &Grant, lifetime: Duration) {
        let store = self.place.open(Timing::of(self.timing.lease_life));
        let nobody = |_last| async { Err::<TokenSet, _>(SourceError::not_sent("not asked here")) };
        let rotator = Rotator::builder(nobody)
            .store(store.expect("a store"))
            .session(SessionKey::new(SESSION))
            .build()
            .expect("a rotator");
        let expiry = if lifetime.is_zero() {
            Expiry::At(SystemTime::now() - Duration::from_secs(1))
        } else {
            Expiry::In(lifetime)
        };
        let tokens = TokenSet::bearer(grant.access_token.as_str())
            .with_refresh_token(grant.refresh_token.as_str())
            .with_expiry(expiry);
        let stored = rotator.sign_in(tokens).expect("usable tokens");
        stored.await.expect("a store that works");
    }

    /// What a worker of this scene is told.
    pub fn spec(&self, job: Job, die_at: Option<DieAt>) -> Spec {
        Spec {
            place: self.place.clone(),
            session: SESSION.to_owned(),
            token_url: self.issuer.token_url().to_owned(),
            revocation_url: self.issuer.revoke_url().to_owned(),
            client_id: "demo".to_owned(),
            api_url: self.api.url().to_owned(),
            profile: self.profile,
            timing: self.timing,
            job,
            die_at,
        }
    }
}

/// A process finds an expired session and dies at that step; another one comes after it.
///
/// # Panics
///
/// If the first does not die there, or the second neither gets a token nor gives up.
pub async fn crash(program: &Path, place: Place, profile: ProfileName, die_at: DieAt) -> Aftermath {
    let scene = Scene::set(place, profile, Timing::SHORT, Duration::from_secs(60)).await;
    scene.issuer.expire_access_tokens();
    scene.sign_in(&scene.grant, Duration::ZERO).await;
    let mut herd = Herd::new(program);
    let mut first = herd.start(&scene.spec(Job::OneToken, Some(die_at)));
    let died = herd.whole_story(&mut first).await;
    assert!(first.gone().await, "it did not die at {die_at:?}: {died:?}");
    let mut second = herd.start(&scene.spec(Job::OneToken, None));
    let next = herd.whole_story(&mut second).await;
    assert!(
        matches!(next.last(), Some(Said::Token { .. } | Said::GaveUp { .. })),
        "it hangs after {die_at:?}: {next:?}"
    );
    Aftermath {
        died,
        next,
        counters: scene.issuer.counters(),
        alive: scene.issuer.session_alive(&scene.grant),
    }
}

impl Aftermath {
    /// Whether the next process had a working token.
    pub fn recovered(&self) -> bool {
        matches!(self.next.last(), Some(Said::Token { .. }))
    }

    /// How often the next process presented a refresh token again: as the profile allows, and as
    /// the last resort.
    pub fn presented_again(&self) -> (usize, usize) {
        let count = |wanted: bool| {
            let again = |said: &&Said| matches!(said, Said::PresentedAgain { last_resort } if *last_resort == wanted);
            self.next.iter().filter(again).count()
        };
        (count(false), count(true))
    }
}
