//! The arithmetic of times and counters.

use proptest::prelude::*;
use token_rotator_core::{Arithmetic as _, NEVER, Number, Policy, Validity};

use crate::common::cases;
use crate::common::words::{number, plain};

// Property: no number wraps around, turns negative or becomes NaN at the edges.
#[test]
fn edges_hold() {
    let one = Number::of(1);
    assert_eq!(plain(Number::ZERO), Some(0));
    assert_eq!(plain(Number::ONE), Some(1));
    assert!(NEVER > Number::of(u32::MAX));
    assert_eq!(plain(NEVER.plus(one)), None, "a sum stops at the top");
    assert_eq!(plain(NEVER.plus(NEVER)), None);
    assert_eq!(
        plain(Number::ZERO.minus(one)),
        Some(0),
        "a difference stops at zero"
    );
    assert_eq!(plain(NEVER.minus(NEVER)), Some(0));
    assert_eq!(
        plain(NEVER.per_mille(2_000)),
        None,
        "a share stops at the top"
    );
    assert_eq!(plain(NEVER.per_mille(1_000)), None);
}

// Property: a sum that is too large only in its second part stops at the top too:
// 18446744073709551 * 1001 fits, and the rest of the thousandths does not.
#[cfg(not(token_rotator_f64))]
#[test]
fn edges_of_integers_hold() {
    assert_eq!(u64::MAX.per_mille(1_001), u64::MAX);
    assert_eq!((u64::MAX - 1).per_mille(1_000), u64::MAX - 1);
    assert_eq!(u64::MAX.per_mille(500), u64::MAX / 2);
}

#[cfg(token_rotator_f64)]
#[test]
fn edges_of_floats_hold() {
    assert_eq!(plain(NEVER.per_mille(0)), None, "not NaN");
    let large = 1e300_f64;
    assert_eq!(
        large.per_mille(1_000).total_cmp(&large),
        std::cmp::Ordering::Equal
    );
}

/// The validity in integers.
fn validity(lifetime: Option<u64>, jitter: u32) -> [Option<u64>; 3] {
    let validity = Policy::required().validity(number(1_000_000), lifetime.map(number), jitter);
    [validity.expires_at, validity.refresh_at, validity.lifetime]
        .map(|number| number.and_then(plain))
}

proptest! {
    #![proptest_config(cases(20_000))]

    // Property: every result is that of integers that never overflow.
    #[test]
    fn counts_like_integers(a in 0_u32..1 << 30, b in 0_u32..1 << 30, share in 0_u32..4_000) {
        let (x, y) = (Number::of(a), Number::of(b));
        let counted = [x.plus(y), x.minus(y), x.per_mille(share), x.least(y), x.most(y)];
        let sure = [
            u64::from(a) + u64::from(b),
            u64::from(a.saturating_sub(b)),
            u64::from(a) * u64::from(share) / 1_000,
            u64::from(a.min(b)),
            u64::from(a.max(b)),
        ];
        prop_assert_eq!(counted.map(plain), sure.map(Some));
    }

    // Property: shares of large numbers are rounded down exactly.
    #[test]
    fn shares_are_exact(large in 0_u64..1 << 52, thousandths in 0_u32..=2_000) {
        let exact = |number: u64| {
            let share = u128::from(number) * u128::from(thousandths) / 1_000;
            u64::try_from(share).ok()
        };
        let small = large >> 12;
        prop_assert_eq!(plain(number(small).per_mille(thousandths)), exact(small));
        #[cfg(not(token_rotator_f64))]
        prop_assert_eq!(Some(large.per_mille(thousandths)), exact(large));
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
        let told = validity(known, jitter);
        let Some(lifetime) = known.filter(|lifetime| *lifetime > 0) else {
            prop_assert_eq!(told, [None; 3]);
            return Ok(());
        };
        let lifetime = lifetime.min(315_576_000_000);
        let margin = (lifetime / 4).min(60_000);
        let expires_at = 1_000_000 + lifetime;
        let sooner = margin + margin * u64::from(jitter) / 1_000;
        prop_assert_eq!(told, [Some(expires_at), Some(expires_at - sooner), Some(lifetime)]);
    }
}

// Property: a validity without a lifetime ends where it is said to, and starts nothing early.
#[test]
fn validity_without_a_lifetime() {
    let until = Validity::until(number(7));
    assert_eq!(until.expires_at.and_then(plain), Some(7));
    assert!(until.refresh_at.is_none() && until.lifetime.is_none());
    assert!(Validity::unknown().expires_at.is_none());
}
