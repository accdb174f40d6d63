//! Tests of whole flights over a real store and coordinator.
//!
//! Several rotators share a session, like processes with their own handles. The issuer is scripted, and failures are
//! injected.
//!
//! - `sessions.rs`, `leases.rs`, `saves.rs`, `clocks.rs`, `crashes.rs`: the tests
//! - `shared_session.rs`: a session and its replicas
//! - `scripted_issuer.rs`: the issuer
//! - `faulty.rs`, `crash_plan.rs`: injected failures and crashes
//!
//! `chaos/` runs the same with real processes that are killed. These tests take seconds and run for every store and
//! coordinator.

mod clocks;
mod crash_plan;
mod crashes;
mod faulty;
mod leases;
mod saves;
mod scripted_issuer;
mod sessions;
mod shared_session;

pub use self::clocks::{
    a_wall_clock_jump_causes_no_second_refresh, replicas_an_hour_apart_refresh_once_an_expiry,
};
pub use self::crashes::{
    a_crash_at_each_step_with_a_forgiving_issuer, a_crash_at_each_step_with_a_multi_use_issuer,
    a_crash_at_each_step_with_a_strict_issuer,
};
pub use self::leases::{
    a_lease_lost_after_the_request_still_saves, a_lease_lost_before_the_request_sends_nothing,
    a_successors_token_is_adopted,
};
pub use self::saves::{
    a_conflict_before_the_request_adopts_the_newer_tokens, a_failed_journal_write_sends_nothing,
    a_failed_save_is_retried_until_it_succeeds,
};
pub use self::sessions::{
    a_sign_in_by_another_replica_wins, a_sign_out_by_another_replica_wins,
    many_replicas_refresh_once,
};
