//! The builder: defaults and their validation.

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use token_rotator_core::{Access, Policy};
use tokio_util::task::TaskTracker;

use crate::error::BuildError;
use crate::event::{Event, EventListeners};
use crate::http::origin::{Origin, Origins};
use crate::rotator::Rotator;
use crate::rotator::profile::Profile;
use crate::rotator::rotators::Rotators;
use crate::runtime::clock::{Clock, RotatorClock, millis};
use crate::runtime::{self, Runtime};
use crate::session::{AfterRefresh, Engine, Session, TimeLimits};
use crate::store::coordinator::{Coordinator, DynCoordinator};
use crate::store::{DynStore, SessionKey, SessionStore};
use crate::token::Placement;
use crate::token::source::{DynSource, Refreshed, TokenSource};

/// Builds a [`Rotator`]. Every setting has a default; [`build`](Self::build) checks all settings
/// together.
#[must_use = "a builder does nothing until `build` is called"]
pub struct RotatorBuilder {
    source: Box<dyn DynSource>,
    store: Option<Box<dyn DynStore>>,
    coordinator: Option<Box<dyn DynCoordinator>>,
    session: SessionKey,
    clock: RotatorClock,
    runtime: RuntimeChoice,
    policy: Policy,
    profile: Profile,
    limits: TimeLimits,
    default_lifetime: Option<Duration>,
    placement: Placement,
    origins: Vec<Result<Origin, BuildError>>,
    listeners: EventListeners,
    after_refresh: Option<AfterRefresh>,
    idle_after: Duration,
    host: Option<String>,
}

enum RuntimeChoice {
    FirstCall,
    Given(tokio::runtime::Handle),
    OwnThread,
}

impl RotatorBuilder {
    pub(crate) fn new(source: impl TokenSource) -> Self {
        Self {
            source: Box::new(source),
            store: None,
            coordinator: None,
            session: SessionKey::default(),
            clock: RotatorClock::system(),
            runtime: RuntimeChoice::FirstCall,
            policy: Policy::required(),
            profile: Profile::strict(),
            limits: TimeLimits {
                lease_wait: Duration::from_secs(10),
                source_timeout: Duration::from_secs(15),
                flight_deadline: Duration::from_secs(30),
                wait_timeout: Duration::from_secs(30),
                after_hook: Duration::from_secs(5),
            },
            default_lifetime: None,
            placement: Placement::bearer(),
            origins: Vec::new(),
            listeners: EventListeners::default(),
            after_refresh: None,
            idle_after: Duration::from_secs(900),
            host: None,
        }
    }

    /// Keeps the session in this store. Takes leases from the store's own coordinator, if it has
    /// one and [`coordinator`](Self::coordinator) is not called. Default: the rotator's memory.
    pub fn store(mut self, store: impl SessionStore) -> Self {
        if let Some(coordinator) = store.coordinator() {
            self.coordinator
                .get_or_insert_with(|| Box::new(coordinator));
        }
        self.store = Some(Box::new(store));
        self
    }

    /// Takes leases from this coordinator, and not from that of the store. Default: none. One
    /// rotator never runs two flights at a time, with or without a coordinator.
    pub fn coordinator(mut self, coordinator: impl Coordinator) -> Self {
        self.coordinator = Some(Box::new(coordinator));
        self
    }

    /// Names the session in the store and the coordinator. Default: `default`.
    pub fn session(mut self, key: SessionKey) -> Self {
        self.session = key;
        self
    }

    /// Allows requests without a token while the session has none. The first refusal starts the
    /// first refresh. For cookie sessions. Default: every request waits for a token.
    pub fn anonymous(mut self) -> Self {
        self.policy.access = Access::Anonymous;
        self
    }

    /// Says what the issuer does with a refresh token that was used before. Default:
    /// [`Profile::strict`].
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Adds an origin that tokens may be sent to: scheme, host and port. The scheme must be
    /// `https`, except for loopback. Call this method once for each origin.
    pub fn origin(mut self, origin: impl AsRef<str>) -> Self {
        let origin = origin.as_ref().parse::<Origin>();
        self.origins.push(origin.map_err(BuildError::Origin));
        self
    }

    /// Sends the token alone in this header, instead of `Authorization: Bearer`.
    pub fn token_header(self, name: HeaderName) -> Self {
        self.token_header_with(name, str::to_owned)
    }

    /// Sends the token in this header. `format` makes the header's value from the token.
    pub fn token_header_with(
        mut self,
        name: HeaderName,
        format: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self {
        self.placement = Placement {
            name,
            format: Arc::new(format),
        };
        self
    }

    /// Sets how long before expiry a refresh may start while the token is still served. Default: 60
    /// s. The margin is at most a quarter of the token's lifetime. Each token's refresh starts up
    /// to a fifth of the margin earlier, at random.
    pub fn refresh_before(mut self, margin: Duration) -> Self {
        self.policy.margin = millis(margin);
        self
    }

    /// Sets the lifetime of tokens whose issuer gives none and that are no JWT. Default: such a token
    /// is served until the upstream refuses it.
    pub fn default_lifetime(mut self, lifetime: Duration) -> Self {
        self.default_lifetime = Some(lifetime);
        self
    }

    /// Sets how long a caller waits for a refresh. Default: 30 s.
    pub fn wait_timeout(mut self, limit: Duration) -> Self {
        self.limits.wait_timeout = limit;
        self
    }

    /// Sets how long the token source may take. Default: 15 s. After that time its future is
    /// dropped, and the refresh token may be spent.
    pub fn source_timeout(mut self, limit: Duration) -> Self {
        self.limits.source_timeout = limit;
        self
    }

    /// Sets how long a flight waits for the lease. Default: 10 s.
    pub fn lease_wait(mut self, limit: Duration) -> Self {
        self.limits.lease_wait = limit;
        self
    }

    /// Sets how long a flight may hold its waiters. Default: 30 s. A flight past this deadline
    /// still blocks other flights until it ends.
    pub fn flight_deadline(mut self, limit: Duration) -> Self {
        self.limits.flight_deadline = limit;
        self.policy.flight_deadline = millis(limit);
        self
    }

    /// Sets the cool-down after the first failure, and the longest cool-down. The cool-down doubles
    /// with each failure in a row. Default: 0.5 s and 60 s.
    pub fn cool_down(mut self, first: Duration, longest: Duration) -> Self {
        self.policy.cool_down = millis(first);
        self.policy.cool_down_max = millis(longest);
        self
    }

    /// Calls this listener with every event, in the task of the event. A listener that panics
    /// affects no session and no other listener. Call this method once for each listener.
    pub fn on_event(mut self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.listeners
            .0
            .push(Box::new(move |_session, event| listener(event)));
        self
    }

    /// Calls this listener with every event and the key of its session, for [many
    /// rotators](Self::build_many).
    pub fn on_session_event(
        mut self,
        listener: impl Fn(&SessionKey, &Event) + Send + Sync + 'static,
    ) -> Self {
        self.listeners.0.push(Box::new(listener));
        self
    }

    /// Runs this hook after a refresh. The new token is served already, but callers that wait for
    /// the refresh wait for the hook too, at most 5 s. An error or panic of the hook is only an
    /// event. The hook runs only if the source returned its answer ([`Refreshed::answer`]).
    pub fn after_refresh<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(Arc<Refreshed>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.after_refresh = Some(Box::new(move |refreshed| Box::pin(hook(refreshed))));
        self
    }

    /// Sets how long an unused session of [many rotators](Self::build_many) stays in memory.
    /// Default: 15 minutes. Choose a time longer than any request takes.
    pub fn idle_after(mut self, idle: Duration) -> Self {
        self.idle_after = idle;
        self
    }

    /// Names this host in failures that processes share through the store. Default: the system's
    /// host name.
    ///
    /// A failure before the first byte is sent holds only for processes of the same host.
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.host = Some(name.into());
        self
    }

    /// Runs flights on this runtime. Default: the runtime of the first call that needs one.
    ///
    /// If the runtime ends during a refresh, its callers get
    /// [`RefreshError::Abandoned`](crate::RefreshError::Abandoned), and the refresh token may be
    /// spent. [`dedicated_thread`](Self::dedicated_thread) prevents that.
    pub fn runtime(mut self, handle: tokio::runtime::Handle) -> Self {
        self.runtime = RuntimeChoice::Given(handle);
        self
    }

    /// Runs flights on a thread that the rotator owns, so that they need no runtime of the caller
    /// and no runtime that ends can stop a refresh. The thread ends with the last clone of the
    /// rotator.
    ///
    /// The cost is one thread for each rotator, and 0.2 ms when it is built: the bench `runtimes`
    /// measures it. A refresh and a call of a usable token cost no more.
    pub fn dedicated_thread(mut self) -> Self {
        self.runtime = RuntimeChoice::OwnThread;
        self
    }

    /// Uses this clock. Default: the system's clock.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = RotatorClock::custom(clock);
        self
    }

    /// Builds the rotator.
    ///
    /// # Errors
    ///
    /// A setting is invalid. The error names the setting and the remedy.
    pub fn build(self) -> Result<Rotator, BuildError> {
        self.validate()?;
        let key = self.session.clone();
        let engine = self.engine()?;
        Ok(Rotator {
            session: Session::new(engine, key),
        })
    }

    /// Builds one rotator for each key: see [`Rotators`].
    ///
    /// `name` returns the key's session name in the store and the coordinator. The name should
    /// contain everything that distinguishes tokens: issuer, client, subject, audience and scope.
    /// The setting [`session`](Self::session) is not used.
    ///
    /// # Errors
    ///
    /// A setting is invalid. The error names the setting and the remedy.
    pub fn build_many<K>(
        self,
        name: impl Fn(&K) -> SessionKey + Send + Sync + 'static,
    ) -> Result<Rotators<K>, BuildError>
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
    {
        self.validate()?;
        let idle_after = self.idle_after;
        Ok(Rotators::new(self.engine()?, idle_after, Box::new(name)))
    }

    fn engine(self) -> Result<Arc<Engine>, BuildError> {
        let mut origins = Origins::default();
        for origin in self.origins {
            origins.push(origin?);
        }
        let runtime = match self.runtime {
            RuntimeChoice::FirstCall => Runtime::of_first_call(),
            RuntimeChoice::Given(handle) => Runtime::given(handle),
            RuntimeChoice::OwnThread => Runtime::own_thread()?,
        };
        let mut policy = self.policy;
        // Only another process with the same store can revive an ended session.
        if self.store.is_some() {
            policy.look_interval = 1_000;
        }
        Ok(Arc::new(Engine {
            clock: self.clock,
            runtime,
            source: self.source,
            store: self.store,
            coordinator: self.coordinator,
            policy,
            profile: self.profile,
            limits: self.limits,
            default_lifetime: self.default_lifetime,
            placement: self.placement,
            origins,
            listeners: self.listeners,
            after_refresh: self.after_refresh,
            host: self.host.map_or_else(runtime::host_name, Arc::from),
            tasks: TaskTracker::new(),
            claims: crate::runtime::sync::Mutex::default(),
        }))
    }

    fn validate(&self) -> Result<(), BuildError> {
        let limits = &self.limits;
        let settings = [
            ("wait_timeout", limits.wait_timeout),
            ("source_timeout", limits.source_timeout),
            ("flight_deadline", limits.flight_deadline),
        ];
        let default_lifetime = self
            .default_lifetime
            .map(|value| ("default_lifetime", value));
        for (setting, value) in settings.into_iter().chain(default_lifetime) {
            if value.is_zero() {
                return Err(BuildError::Setting {
                    setting,
                    value,
                    problem: "leaves no time",
                    hint: "set it above zero",
                });
            }
        }
        if limits.flight_deadline < limits.lease_wait.saturating_add(limits.source_timeout) {
            return Err(BuildError::Setting {
                setting: "flight_deadline",
                value: limits.flight_deadline,
                problem: "is less than `lease_wait` and `source_timeout` together",
                hint: "raise it, or lower `lease_wait` or `source_timeout`",
            });
        }
        let coordinator = self.coordinator.as_ref();
        let life = coordinator.and_then(|coordinator| coordinator.lease_life());
        if life.is_some_and(|life| limits.source_timeout >= life) {
            return Err(BuildError::Setting {
                setting: "source_timeout",
                value: limits.source_timeout,
                problem: "is not shorter than the coordinator's lease",
                hint: "lower it, or lengthen the coordinator's lease",
            });
        }
        let (first, longest) = (self.policy.cool_down, self.policy.cool_down_max);
        if first == 0 || first > longest {
            return Err(BuildError::Setting {
                setting: "cool_down",
                value: Duration::from_millis(first),
                problem: "is zero, or longer than the longest cool-down",
                hint: "set the first cool-down above zero, and at most to the longest",
            });
        }
        Ok(())
    }
}

impl std::fmt::Debug for RotatorBuilder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RotatorBuilder")
            .field("session", &self.session)
            .field("policy", &self.policy)
            .field("profile", &self.profile)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
