//! The numbers: all three kinds give the same steps, and count alike.

use proptest::prelude::*;
use token_rotator_core::{Number, Policy, Validity};

use crate::common::cases;
use crate::common::generate::World;
use crate::common::run::Run;
use crate::common::scenario::Scenario;
use crate::common::words::Plain;

/// The least and the largest of a kind, where sums and differences stop.
fn laws_at_the_edges<N: Plain>() {
    let one = N::of(1);
    assert_eq!(N::ZERO, N::of(0));
    assert_eq!(N::ONE, one);
    assert!(N::MAX > N::of(u32::MAX - 1));
    assert_eq!(N::MAX.plus(one), N::MAX, "a sum stops at the top");
    assert_eq!(N::MAX.plus(N::MAX), N::MAX);
    assert_eq!(N::ZERO.minus(one), N::ZERO, "a difference stops at nothing");
    assert_eq!(N::MAX.minus(N::MAX), N::ZERO);
    assert_eq!(N::MAX.per_mille(2_000), N::MAX, "a share stops at the top");
    assert_eq!(N::MAX.per_mille(1_000), N::MAX);
}

// Property: no kind of number wraps around, turns negative or leaves the numbers at its edges.
#[test]
fn edges_hold() {
    laws_at_the_edges::<u32>();
    laws_at_the_edges::<u64>();
    laws_at_the_edges::<f64>();
    // Sums that are too large only in their second part: 18446744073709551 * 1001 fits, and the
    // rest of the thousandths does not.
    assert_eq!(u64::MAX.per_mille(1_001), u64::MAX);
    assert_eq!((u64::MAX - 1).per_mille(1_000), u64::MAX - 1);
    assert_eq!(u64::MAX.per_mille(500), u64::MAX / 2);
    assert_eq!(f64::INFINITY.per_mille(0).plain(), None, "not NaN");
}

fn counts_alike<N: Plain>(a: u32, b: u32, share: u32) -> [Option<u64>; 5] {
    let (x, y) = (N::of(a), N::of(b));
    [
        x.plus(y).plain(),
        x.minus(y).plain(),
        x.per_mille(share).plain(),
        x.least(y).plain(),
        x.most(y).plain(),
    ]
}

/// The validity in plain numbers.
fn validity<N: Plain>(policy: Policy<N>, lifetime: Option<u64>, jitter: u32) -> [Option<u64>; 3] {
    let received = N::of(1_000_000);
    let validity = policy.validity(received, lifetime.map(N::from_plain), jitter);
    [validity.expires_at, validity.refresh_at, validity.lifetime]
        .map(|number| number.and_then(Plain::plain))
}

proptest! {
    #![proptest_config(cases(20_000))]

    // Property: where the result fits all kinds, it is the one of integers that never overflow.
    #[test]
    fn all_kinds_count_alike(a in 0_u32..1 << 30, b in 0_u32..1 << 30, share in 0_u32..4_000) {
        let share_of_a = u64::from(a) * u64::from(share) / 1_000;
        let sure = [
            u64::from(a) + u64::from(b),
            u64::from(a.saturating_sub(b)),
            share_of_a,
            u64::from(a.min(b)),
            u64::from(a.max(b)),
        ].map(Some);
        prop_assert_eq!(counts_alike::<u64>(a, b, share), sure);
        prop_assert_eq!(counts_alike::<f64>(a, b, share), sure);
        let mut narrow = sure;
        narrow[2] = narrow[2].filter(|share| *share < u64::from(u32::MAX));
        prop_assert_eq!(counts_alike::<u32>(a, b, share), narrow);
    }

    // Property: shares of large numbers are rounded down exactly.
    #[test]
    fn shares_are_exact(number in 0_u64..1 << 52, thousandths in 0_u32..=2_000) {
        let sure = u128::from(number) * u128::from(thousandths) / 1_000;
        prop_assert_eq!(u128::from(number.per_mille(thousandths)), sure);
        let small = number >> 12;
        prop_assert_eq!((small as f64).per_mille(thousandths).plain(), Some(small.per_mille(thousandths)));
    }

    // Property: a lifetime of nothing is unknown. Any other ends where it should, cut to ten years;
    // the early refresh comes sooner by the margin or a quarter of it, whichever is less, and by
    // the jitter's share of that; in every kind of number.
    #[test]
    fn validity_is_as_said(
        lifetime in prop_oneof![0_u64..10, 0_u64..1_000_000, 0_u64..700_000_000_000],
        jitter in 0_u32..=200,
        known: bool,
    ) {
        let known = Some(lifetime).filter(|_| known);
        let told = validity(Policy::<u64>::required(), known, jitter);
        prop_assert_eq!(told, validity(Policy::<f64>::required(), known, jitter));
        if lifetime < u64::from(u32::MAX) / 2 {
            prop_assert_eq!(told, validity(Policy::<u32>::required(), known, jitter));
        }
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

proptest! {
    #![proptest_config(cases(8_000))]

    // Property: the same history gives the same answers in 64 bits, in 32, and in floating point.
    #[test]
    fn all_kinds_give_the_same_steps(
        rules: u64,
        words in prop::collection::vec(any::<u64>(), 20..60),
    ) {
        let mut world = World::new(rules, true);
        let mut narrow = Run::<u32>::new(&world.rules);
        let mut floating = Run::<f64>::new(&world.rules);
        for word in &words {
            let event = world.event(*word);
            let told = world.play(&event);
            let answer = narrow.play(&event);
            prop_assert_eq!((answer, narrow.current(event.at)), told, "u32\n{}", Scenario::told(rules, &words));
            let answer = floating.play(&event);
            prop_assert_eq!((answer, floating.current(event.at)), told, "f64\n{}", Scenario::told(rules, &words));
        }
    }
}

// Property: a validity without a lifetime ends where it is said to, and starts nothing early.
#[test]
fn validity_without_a_lifetime() {
    let until = Validity::until(7_u64);
    assert_eq!(
        (until.expires_at, until.refresh_at, until.lifetime),
        (Some(7), None, None)
    );
    assert_eq!(Validity::<u64>::unknown().expires_at, None);
}
