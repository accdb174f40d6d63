//! The arithmetic of times.

use proptest::prelude::*;
use token_rotator_core::{NEVER, Policy, Validity};

use crate::common::cases;
use crate::common::events::{number, plain};

/// So many thousandths of a margin, as the jitter of a validity makes them.
fn share(margin: u64, thousandths: u32) -> u64 {
    let mut policy = Policy::required();
    policy.margin = margin;
    policy.lifetime_max = NEVER;
    // The margin is a quarter of the lifetime at most, and the early refresh comes before it.
    let validity = policy.validity(0, Some(margin * 4), thousandths);
    margin * 3 - validity.refresh_at.expect("a lifetime")
}

// Property: no time wraps around or turns negative at the edges.
#[test]
fn edges_hold() {
    let mut policy = Policy::required();
    policy.lifetime_max = NEVER;
    let validity = policy.validity(NEVER, Some(1), 0);
    assert_eq!(validity.expires_at, Some(NEVER), "a sum stops at the top");
    policy.margin = NEVER;
    let validity = policy.validity(NEVER - 3, Some(NEVER), 2_000);
    assert_eq!(validity.expires_at, Some(NEVER));
    let validity = policy.validity(0, Some(NEVER), u32::MAX);
    assert_eq!(validity.refresh_at, Some(0), "a difference stops at zero");
    let validity = policy.validity(0, Some(NEVER), 4_001);
    assert_eq!(validity.refresh_at, Some(0), "a share stops at the top");
}

/// The validity in integers.
fn validity(lifetime: Option<u64>, jitter: u32) -> [Option<u64>; 3] {
    let validity = Policy::required().validity(number(1_000_000), lifetime.map(number), jitter);
    [validity.expires_at, validity.refresh_at, validity.lifetime]
        .map(|number| number.and_then(plain))
}

proptest! {
    #![proptest_config(cases(20_000))]

    // Property: shares of large numbers are rounded down exactly.
    #[test]
    fn shares_are_exact(margin in 0_u64..1 << 52, thousandths in 0_u32..=2_000) {
        let exact = u128::from(margin) * u128::from(thousandths) / 1_000;
        prop_assert_eq!(u128::from(share(margin, thousandths)), exact);
    }

    // Property: a lifetime of zero is unknown. Any other ends where it should, cut to ten years;
    // the early refresh comes sooner by the margin or a quarter of it, whichever is less, and by
    // the jitter's share of that.
    #[test]
    fn validity_is_as_said(
        lifetime in prop_oneof![0_u64..10, 0_u64..1_000_000, 0_u64..700_000_000_000],
        jitter in 0_u32..=200,
        known: bool,
    ) {
        let known = Some(lifetime).filter(|_| known);
        let validity = validity(known, jitter);
        let Some(lifetime) = known.filter(|lifetime| *lifetime > 0) else {
            prop_assert_eq!(validity, [None; 3]);
            return Ok(());
        };
        let lifetime = lifetime.min(315_576_000_000);
        let margin = (lifetime / 4).min(60_000);
        let expires_at = 1_000_000 + lifetime;
        let sooner = margin + margin * u64::from(jitter) / 1_000;
        prop_assert_eq!(validity, [Some(expires_at), Some(expires_at - sooner), Some(lifetime)]);
    }
}

// Property: a validity with an expiry and without a lifetime keeps that expiry and has no early refresh.
#[test]
fn validity_without_a_lifetime() {
    let until = Validity::until(number(7));
    assert_eq!(until.expires_at.and_then(plain), Some(7));
    assert!(until.refresh_at.is_none() && until.lifetime.is_none());
    assert!(Validity::unknown().expires_at.is_none());
}
