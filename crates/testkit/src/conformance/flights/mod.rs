//! What whole flights come to over a real store and its coordinator: rotators as several processes
//! would have them, each with handles of its own, a scripted issuer, and failures in between.
//!
//! `chaos/` does the same with real processes that are killed; here every store and coordinator is
//! put through it within seconds.

mod arranged;
mod clocks;
mod crashes;
mod fate;
mod issuer;
mod leases;
mod saves;
mod scene;
mod sessions;

pub use self::clocks::a_clock_that_jumps_refreshes_nothing_twice;
pub use self::crashes::{
    a_death_at_each_step_of_a_forgiving_issuer, a_death_at_each_step_of_a_strict_issuer,
    a_death_at_each_step_where_uses_do_not_count,
};
pub use self::leases::{
    a_lease_lost_after_the_request_saves_all_the_same,
    a_lease_lost_before_the_request_sends_nothing, a_successor_is_adopted,
};
pub use self::saves::{
    a_conflict_before_the_request_is_decided_anew, a_journal_that_fails_sends_nothing,
    a_save_that_fails_is_tried_until_it_works,
};
pub use self::sessions::{
    a_sign_in_elsewhere_wins, a_sign_out_elsewhere_wins, many_replicas_refresh_once,
};
