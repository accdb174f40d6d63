//! What time and counters are made of.

/// A number for milliseconds and counters.
///
/// Rust drivers use `u64`. A build for JavaScript uses `f64` or `u32`, so that nothing 64 bits
/// wide has to be emulated there; all three give the same steps for the same events.
pub trait Number: Copy + PartialOrd + core::fmt::Debug {
    /// Nothing.
    const ZERO: Self;
    /// The step of every counter.
    const ONE: Self;
    /// Later than any time: what never comes.
    const MAX: Self;

    /// This many.
    fn of(value: u32) -> Self;
    /// The sum; [`Number::MAX`] where it would not fit.
    fn plus(self, other: Self) -> Self;
    /// The difference; [`Number::ZERO`] where it would be negative.
    fn minus(self, other: Self) -> Self;
    /// So many thousandths of this, rounded down; [`Number::MAX`] where it would not fit.
    fn per_mille(self, thousandths: u32) -> Self;

    /// The smaller of two.
    fn least(self, other: Self) -> Self {
        if other < self { other } else { self }
    }

    /// The larger of two.
    fn most(self, other: Self) -> Self {
        if other > self { other } else { self }
    }
}

impl Number for u64 {
    const ZERO: Self = 0;
    const ONE: Self = 1;
    const MAX: Self = u64::MAX;

    fn of(value: u32) -> Self {
        Self::from(value)
    }

    fn plus(self, other: Self) -> Self {
        self.saturating_add(other)
    }

    fn minus(self, other: Self) -> Self {
        self.saturating_sub(other)
    }

    fn per_mille(self, thousandths: u32) -> Self {
        let whole = (self / 1_000).checked_mul(Self::from(thousandths));
        let rest = self % 1_000 * Self::from(thousandths) / 1_000;
        whole.map_or(Self::MAX, |whole| whole.saturating_add(rest))
    }
}

impl Number for u32 {
    const ZERO: Self = 0;
    const ONE: Self = 1;
    const MAX: Self = u32::MAX;

    fn of(value: u32) -> Self {
        value
    }

    fn plus(self, other: Self) -> Self {
        self.saturating_add(other)
    }

    fn minus(self, other: Self) -> Self {
        self.saturating_sub(other)
    }

    fn per_mille(self, thousandths: u32) -> Self {
        let product = u64::from(self) * u64::from(thousandths) / 1_000;
        u32::try_from(product).unwrap_or(Self::MAX)
    }
}

impl Number for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const MAX: Self = f64::INFINITY;

    fn of(value: u32) -> Self {
        Self::from(value)
    }

    fn plus(self, other: Self) -> Self {
        self + other
    }

    fn minus(self, other: Self) -> Self {
        let difference = self - other;
        // Infinity minus itself is no number, and greater than nothing.
        if difference > 0.0 { difference } else { 0.0 }
    }

    #[inline(never)]
    fn per_mille(self, thousandths: u32) -> Self {
        /// From here on every number is whole.
        const WHOLE: f64 = 4_503_599_627_370_496.0;

        let product = self * Self::from(thousandths) / 1_000.0;
        if product < WHOLE {
            // Rounded down by hand: `floor` is not in core, and the remainder takes emulated 64 bit
            // integers in the build for JavaScript. No duration here is negative.
            let near = (product + WHOLE) - WHOLE;
            if near > product { near - 1.0 } else { near }
        } else if product < Self::INFINITY {
            product
        } else {
            // Not `Self::MAX`: that is the largest finite one, which f64 has of its own.
            Self::INFINITY
        }
    }
}
