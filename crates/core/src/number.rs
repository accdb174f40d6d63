//! The number of times and counters, and its arithmetic.

/// A time in milliseconds, or a counter.
///
/// The build for JavaScript sets `--cfg token_rotator_f64`: `f64` is the number that JavaScript
/// has, and 64-bit integers would be emulated there. Both builds give the same steps for the same
/// events.
#[cfg(not(token_rotator_f64))]
pub type Number = u64;
/// A time in milliseconds, or a counter.
#[cfg(token_rotator_f64)]
pub type Number = f64;

/// Later than any time.
#[cfg(not(token_rotator_f64))]
pub const NEVER: Number = u64::MAX;
/// Later than any time.
#[cfg(token_rotator_f64)]
pub const NEVER: Number = f64::INFINITY;

/// Arithmetic that neither overflows nor becomes negative.
pub trait Arithmetic: Copy + PartialOrd {
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;

    /// Converts an integer.
    fn of(value: u32) -> Self;
    /// Returns the sum, or [`NEVER`] if the sum does not fit.
    #[must_use]
    fn plus(self, other: Self) -> Self;
    /// Returns the difference, or zero if the difference is negative.
    #[must_use]
    fn minus(self, other: Self) -> Self;
    /// Returns so many thousandths of the number, rounded down, or [`NEVER`] if that does not fit.
    #[must_use]
    fn per_mille(self, thousandths: u32) -> Self;

    /// Returns the smaller number.
    #[must_use]
    #[inline]
    fn least(self, other: Self) -> Self {
        if other < self { other } else { self }
    }

    /// Returns the larger number.
    #[must_use]
    #[inline]
    fn most(self, other: Self) -> Self {
        if other > self { other } else { self }
    }
}

#[cfg(not(token_rotator_f64))]
impl Arithmetic for Number {
    const ZERO: Self = 0;
    const ONE: Self = 1;

    #[inline]
    fn of(value: u32) -> Self {
        Self::from(value)
    }

    #[inline]
    fn plus(self, other: Self) -> Self {
        self.saturating_add(other)
    }

    #[inline]
    fn minus(self, other: Self) -> Self {
        self.saturating_sub(other)
    }

    #[inline]
    fn per_mille(self, thousandths: u32) -> Self {
        let whole = (self / 1_000).checked_mul(Self::from(thousandths));
        let rest = self % 1_000 * Self::from(thousandths) / 1_000;
        whole.map_or(NEVER, |whole| whole.saturating_add(rest))
    }
}

#[cfg(token_rotator_f64)]
impl Arithmetic for Number {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    #[inline]
    fn of(value: u32) -> Self {
        Self::from(value)
    }

    #[inline]
    fn plus(self, other: Self) -> Self {
        self + other
    }

    #[inline]
    fn minus(self, other: Self) -> Self {
        let difference = self - other;
        // Infinity minus infinity is NaN, and NaN is not greater than zero.
        if difference > 0.0 { difference } else { 0.0 }
    }

    #[inline(never)]
    fn per_mille(self, thousandths: u32) -> Self {
        /// Every number from here on is whole.
        const WHOLE: f64 = 4_503_599_627_370_496.0;

        let product = self * Self::from(thousandths) / 1_000.0;
        if product < WHOLE {
            // `floor` is not in core, and the remainder takes emulated 64-bit integers in
            // JavaScript. No duration is negative here.
            let near = (product + WHOLE) - WHOLE;
            if near > product { near - 1.0 } else { near }
        } else if product < NEVER {
            product
        } else {
            NEVER
        }
    }
}
