//! One process dies at a chosen step of a flight, and a second process recovers.

use std::path::Path;
use std::time::{Duration, SystemTime};

use token_rotator::{Expiry, Rotator, SessionKey, SourceError, TokenSet};
use token_rotator_testkit::{Counters, Grant, Issuer, Upstream};

use crate::report::Report;
use crate::spec::{Job, ProfileName, Spec, Timing};
use crate::steps::DieAt;
use crate::store::StoreAddress;
use crate::workers::Workers;

/// The reports of both processes, and the state of the issuer.
#[derive(Clone, Debug)]
pub struct Aftermath {
    /// The reports of the process that died.
    pub died: Vec<Report>,
    /// The reports of the next process.
    pub next: Vec<Report>,
    /// The counters of the issuer for both processes.
    pub counters: Counters,
    /// True if the grant is alive.
    pub alive: bool,
}

/// One issuer, one API, and one store with a session.
pub struct Scene {
    /// The issuer.
    pub issuer: Issuer,
    /// The API.
    pub api: Upstream,
    /// The sign-in.
    pub grant: Grant,
    /// The store of the session.
    pub address: StoreAddress,
    /// The profile of the issuer.
    pub profile: ProfileName,
    timing: Timing,
}

/// The name of the session in every scene.
pub const SESSION: &str = "chaos";

impl Scene {
    /// Starts issuer and API, signs in, and writes the session to this store.
    ///
    /// # Panics
    ///
    /// If a server does not start, or the store takes no write.
    pub async fn start(
        address: StoreAddress,
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
            address,
            profile,
            timing,
        };
        scene.sign_in(&scene.grant, lifetime).await;
        scene
    }

    /// Writes this sign-in to the store. A lifetime of zero means an expired token.
    ///
    /// # Panics
    ///
    /// If the store takes no write.
    pub async fn sign_in(&self, grant: &Grant, lifetime: Duration) {
        let store = self.address.open(Timing::of(self.timing.lease_life));
        let never_refreshes =
            |_last| async { Err::<TokenSet, _>(SourceError::not_sent("not asked here")) };
        let rotator = Rotator::builder(never_refreshes)
            .store(store.expect("a store"))
            .session(SessionKey::new(SESSION))
            .source_timeout(Timing::of(self.timing.source))
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

    /// The spec of a worker in this scene.
    pub fn spec(&self, job: Job, die_at: Option<DieAt>) -> Spec {
        Spec {
            address: self.address.clone(),
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

/// A process finds an expired session and dies at the step. Then a second process starts.
///
/// # Panics
///
/// If the first process does not die there, or the second neither gets a token nor gives up.
pub async fn crash(
    program: &Path,
    address: StoreAddress,
    profile: ProfileName,
    die_at: DieAt,
) -> Aftermath {
    let scene = Scene::start(address, profile, Timing::SHORT, Duration::from_secs(60)).await;
    scene.issuer.expire_access_tokens();
    scene.sign_in(&scene.grant, Duration::ZERO).await;
    let mut group = Workers::new(program);
    let mut first = group.start(&scene.spec(Job::OneToken, Some(die_at)));
    let died = group.reports_of(&mut first).await;
    assert!(
        first.ended().await,
        "the first process did not die at {die_at:?}: {died:?}"
    );
    let mut second = group.start(&scene.spec(Job::OneToken, None));
    let next = group.reports_of(&mut second).await;
    assert!(
        matches!(
            next.last(),
            Some(Report::Token { .. } | Report::GaveUp { .. })
        ),
        "the second process hangs after {die_at:?}: {next:?}"
    );
    Aftermath {
        died,
        next,
        counters: scene.issuer.counters(),
        alive: scene.issuer.session_alive(&scene.grant),
    }
}

impl Aftermath {
    /// Returns true if the next process got a token that the API accepts.
    pub fn recovered(&self) -> bool {
        matches!(self.next.last(), Some(Report::Token { .. }))
    }

    /// Returns how often the next process presented a refresh token again: because the profile allows
    /// it, and as the last resort.
    pub fn presented_again(&self) -> (usize, usize) {
        let count = |wanted: bool| {
            let again = |report: &&Report| matches!(report, Report::PresentedAgain { last_resort } if *last_resort == wanted);
            self.next.iter().filter(again).count()
        };
        (count(false), count(true))
    }
}
