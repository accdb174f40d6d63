//! Eight processes against npm's `oidc-provider`, a certified issuer whose refresh tokens are
//! single use.

use std::time::{Duration, SystemTime};

use token_rotator::{Expiry, Rotator, SessionKey, SourceError, TokenSet};
use token_rotator_chaos::crash::SESSION;
use token_rotator_chaos::{Job, Kind, ProfileName, Report, Spec, TestStore, Timing, Workers};
use token_rotator_testkit::CertifiedIssuer;

const PROGRAM: &str = env!("CARGO_BIN_EXE_token-rotator-chaos");
const PROCESSES: usize = 8;
const LIFETIME: Duration = Duration::from_secs(2);

/// The number of expiries. `OIDC_EXPIRIES` in the environment overrides it.
fn expiries() -> u64 {
    let asked = std::env::var("OIDC_EXPIRIES").ok();
    asked.and_then(|asked| asked.parse().ok()).unwrap_or(10)
}

/// At every expiry one of eight processes refreshes and the others adopt its token. The issuer never
/// receives a refresh token twice, and the grant is alive at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_share_a_certified_grant() {
    let Some(issuer) = CertifiedIssuer::start(LIFETIME).await else {
        return;
    };
    let grant = issuer.sign_in().await;
    let store = TestStore::make(Kind::File).await.expect("a directory");
    let address = store.address();
    let never_refreshes =
        |_last| async { Err::<TokenSet, _>(SourceError::not_sent("not asked here")) };
    let login = Rotator::builder(never_refreshes)
        .store(address.open(Duration::from_secs(40)).expect("a store"))
        .session(SessionKey::new(SESSION))
        .build()
        .expect("a rotator");
    let tokens = TokenSet::bearer("never-issued")
        .with_refresh_token(grant.refresh_token.as_str())
        .with_expiry(Expiry::At(SystemTime::now() - Duration::from_secs(1)));
    let stored = login.sign_in(tokens).expect("usable tokens");
    stored.await.expect("stored");

    let spec = Spec {
        address,
        session: SESSION.to_owned(),
        token_url: issuer.token_url().to_owned(),
        revocation_url: issuer.revocation_url().to_owned(),
        client_id: grant.client_id.clone(),
        api_url: issuer.upstream_url().to_owned(),
        profile: ProfileName::Strict,
        timing: Timing::PATIENT,
        job: Job::Requests,
        die_at: None,
    };
    let mut group = Workers::new(PROGRAM);
    let mut workers: Vec<_> = (0..PROCESSES).map(|_| group.start(&spec)).collect();
    let (mut refreshed, mut answered) = (0, 0);
    while refreshed < expiries() {
        match group.next().await {
            Report::Refreshed => refreshed += 1,
            Report::Answered { good: true, .. } => answered += 1,
            report @ (Report::Answered { .. }
            | Report::Failed { .. }
            | Report::Ended
            | Report::PresentedAgain { .. }) => panic!("{report:?}"),
            _ => {}
        }
    }
    for worker in &mut workers {
        worker.kill().await;
    }
    let stats = issuer.stats().await;
    println!("{answered} requests of {PROCESSES} processes over {refreshed} expiries");
    assert_eq!(
        (stats.reuses, stats.grants_revoked, stats.errors),
        (0, 0, 0)
    );
    assert!(answered > 0 && stats.refreshes >= refreshed);
    assert!(issuer.alive(&grant).await);
}
