//! The addresses of a session: a flight sends nothing to another address than that of the sign-in.

use super::FlightTask;
use crate::error::{RefreshError, SourceError};
use crate::event::Event;
use crate::runtime;
use crate::runtime::sync::lock;
use crate::session::Session;
use crate::session::decide::RefreshStart;
use crate::store::{Binding, Record};

impl FlightTask {
    /// Checks the addresses of the source against the binding of the record, and binds a record
    /// that has none. The next write of the record seals the binding.
    pub(super) async fn check_binding(
        &mut self,
        start: &mut RefreshStart,
    ) -> Result<(), RefreshError> {
        self.step = "find the issuer's addresses";
        let session = &self.session;
        let sealed = start.details.binding.clone().unwrap_or_default();
        let is_bound = sealed != Binding::default();
        // A different address that is known already is refused before a request discovers others.
        if is_bound && let Some(known) = session.source.known_binding(&session.key) {
            session.refuse_other_addresses(&sealed, &known)?;
        }
        let limit = session.limits.source_timeout;
        let binding = session.call_source(session.source.binding(&session.key));
        let Some(current) = runtime::timeout(limit, Box::pin(binding)).await else {
            let error = format!("the issuer's addresses were not found within {limit:?}");
            return Err(RefreshError::Source(SourceError::not_sent(error)));
        };
        let current = current.map_err(RefreshError::Source)?;
        // A source without an address binds nothing, and erases no binding.
        let Some(current) = current else {
            return Ok(());
        };
        if is_bound {
            session.refuse_other_addresses(&sealed, &current)?;
            session.report_followed(&sealed, &current);
        }
        let bound = sealed.moved_to(&current);
        session.note_binding(&bound);
        start.details.binding = Some(bound);
        session.state.note_details(self.epoch(), &start.details);
        Ok(())
    }
}

impl Session {
    /// Remembers the binding of the session, for a revocation.
    pub(in crate::session) fn note_binding(&self, binding: &Binding) {
        *lock(&self.bound) = Some(Box::new(binding.clone()));
    }

    /// Remembers the binding of a record with tokens.
    pub(in crate::session) fn note_record_binding(&self, record: Option<&Record>) {
        if let Some(binding) = record.and_then(Record::binding) {
            self.note_binding(binding);
        }
    }

    /// Returns the last binding of the session that this process has seen.
    pub(in crate::session) fn bound(&self) -> Option<Binding> {
        lock(&self.bound).as_deref().cloned()
    }

    /// Refuses other addresses than those of this binding.
    fn refuse_other_addresses(
        &self,
        sealed: &Binding,
        current: &Binding,
    ) -> Result<(), RefreshError> {
        let Err(error) = sealed.check(current) else {
            return Ok(());
        };
        let refused = error.clone();
        self.emit(&Event::AddressRefused { error });
        Err(RefreshError::OtherAddress(refused))
    }

    /// Reports the addresses that the session follows.
    fn report_followed(&self, sealed: &Binding, current: &Binding) {
        for address in sealed.check(current).unwrap_or_default() {
            self.emit(&Event::AddressFollowed { address });
        }
    }

    /// Checks where a revocation would send tokens of a session with this binding.
    pub(in crate::session) async fn check_revocation(
        &self,
        sealed: Option<&Binding>,
    ) -> Result<(), SourceError> {
        let Some(sealed) = sealed else {
            return Ok(());
        };
        let Some(current) = self.source.binding_to_revoke(&self.key).await? else {
            return Ok(());
        };
        self.refuse_other_addresses(sealed, &current)
            .map_err(|error| {
                let refused = SourceError::misconfigured(error.to_string());
                match error.hint() {
                    Some(hint) => refused.with_hint(hint),
                    None => refused,
                }
            })
    }
}
