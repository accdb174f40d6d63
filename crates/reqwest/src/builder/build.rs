//! Everything put together, or what is wrong with it.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use reqwest::redirect::Policy;
use token_rotator::middleware::RotatorExt as _;
use token_rotator::{Event, Origin, Rotator, RotatorBuilder};
use url::Url;

use crate::builder::{ClientBuilder, Settings};
use crate::client::{Client, Core, Full, SendOnly};
use crate::cookies::Cookies;
use crate::error::BuildError;
use crate::hooks::Listener;
use crate::jar::Jar;
use crate::locate::{BaseUrl, locate};
use crate::redirect::Redirects;
use crate::refresh::{Baggage, Way};
use crate::session::SessionHandle;
use crate::state::{Begun, Ready};
use crate::transport::ReqwestTransport;

const DEFAULT_ENDPOINT: &str = "/api/auth/refresh";
const DEFAULT_REDIRECTS: usize = 10;

// The bounds stand on the methods, for there the compiler says what is missing in our words.
impl<State> ClientBuilder<State> {
    /// Builds the client, or says which setting is wrong and what to do about it.
    pub fn build(self) -> Result<Client<Full>, BuildError>
    where
        State: Ready,
    {
        self.core().map(|core| Client::of(Arc::new(core)))
    }

    /// Builds a client that can only send and read the token, and the handle that alone can sign in
    /// and out.
    pub fn build_split(self) -> Result<(Client<SendOnly>, SessionHandle), BuildError>
    where
        State: Ready,
    {
        let client = self.build()?;
        let session = client.session();
        Ok((client.into(), session))
    }

    fn core(self) -> Result<Core, BuildError>
    where
        State: Ready,
    {
        let Self {
            mut settings,
            state,
        } = self;
        if let Some(error) = settings.bad_setting.take() {
            return Err(error);
        }
        let base = settings
            .base_url
            .as_deref()
            .map(BaseUrl::parse)
            .transpose()?;
        let origins = settings.origins(base.as_ref())?;
        let endpoint = settings.endpoint(base.as_ref(), &origins, state.wants_endpoint())?;
        let Clients {
            http,
            cookies,
            transport,
            baggage,
            redirects,
        } = settings.clients()?;
        let way = Way {
            transport,
            base: base.clone(),
            endpoint: endpoint.clone(),
            origins: origins.iter().cloned().collect(),
            headers: settings.default_headers.clone(),
            baggage: baggage.clone(),
        };
        let rotator = match state.begin(way, &settings.said)? {
            Begun::Built(rotator) => settings.check_brought(rotator, base.as_ref())?,
            Begun::Builder(builder) => settings.rotator(builder, &origins)?,
            Begun::Endpoint(builder) => settings.rotator(told(builder, baggage), &origins)?,
        };
        if matches!(redirects, Redirects::Theirs) {
            let ours = settings.default_headers.keys();
            let mut carried = ours.chain([rotator.header_name()]);
            if let Some(header) = carried.find(|name| *name != AUTHORIZATION) {
                return Err(BuildError::CustomHeaderWithClient {
                    header: header.to_string(),
                });
            }
        }
        Ok(Core {
            http,
            cookies,
            rotator,
            base,
            refresh_endpoint: endpoint,
            redirects,
            refusals: settings.refusals,
            default_headers: settings.default_headers,
            timeout: settings.timeout,
        })
    }
}

/// What requests go out over.
struct Clients {
    /// Sends requests.
    http: reqwest::Client,
    /// Of the requests.
    cookies: Option<Arc<Cookies>>,
    /// Refreshes.
    transport: ReqwestTransport,
    /// Of the refreshes.
    baggage: Baggage,
    redirects: Redirects,
}

/// Tells the cookies of every sign-in and sign-out, before anybody else hears of it.
fn told(builder: RotatorBuilder, baggage: Baggage) -> RotatorBuilder {
    let Some(cookies) = baggage.cookies else {
        return builder;
    };
    builder.on_event(move |event| {
        if matches!(event, Event::SignedIn { .. } | Event::SignedOut) {
            cookies.begin_epoch();
        }
    })
}

impl Settings {
    fn origins(&self, base: Option<&BaseUrl>) -> Result<Vec<Origin>, BuildError> {
        let mut origins: Vec<Origin> = base.map(BaseUrl::origin).cloned().into_iter().collect();
        for origin in &self.origins {
            origins.push(origin.parse().map_err(BuildError::Origin)?);
        }
        Ok(origins)
    }

    /// The refresh endpoint, if there is one: the one that was named, or the default one where
    /// `wanted`.
    fn endpoint(
        &self,
        base: Option<&BaseUrl>,
        origins: &[Origin],
        wanted: bool,
    ) -> Result<Option<Url>, BuildError> {
        let endpoint = match (&self.refresh_endpoint, wanted) {
            (Some(endpoint), _) => endpoint,
            (None, true) => DEFAULT_ENDPOINT,
            (None, false) => return Ok(None),
        };
        let mut url = locate(base, endpoint).map_err(|error| match error {
            crate::error::UrlError::NoBase => BuildError::NoBaseUrl,
            error => BuildError::RefreshEndpoint(error),
        })?;
        url.set_fragment(None);
        let origin = url[..url::Position::BeforePath].parse::<Origin>();
        if origin.is_ok_and(|origin| origins.contains(&origin)) {
            Ok(Some(url))
        } else {
            Err(BuildError::RefreshEndpointOrigin)
        }
    }

    fn clients(&mut self) -> Result<Clients, BuildError> {
        let ours = Redirects::Ours {
            limit: self.max_redirects.unwrap_or(DEFAULT_REDIRECTS),
        };
        if self.brought.len() > 1 {
            return Err(BuildError::TwoClients);
        }
        let refreshes = self.refresh_client.clone();
        let refreshes = refreshes.map(ReqwestTransport::from_client);
        let Some(brought) = self.brought.pop() else {
            return self.make_clients(ours, refreshes);
        };
        let client = if brought.follows_redirects {
            "client"
        } else {
            "client_without_redirects"
        };
        let settings = [
            ("configure", self.configure.is_some()),
            ("cookies", self.cookies.is_some()),
            ("cookie_provider", self.cookie_provider.is_some()),
            (
                "max_redirects",
                brought.follows_redirects && self.max_redirects.is_some(),
            ),
        ];
        if let Some((setting, _)) = settings.into_iter().find(|(_, given)| *given) {
            return Err(BuildError::ClientAnd { setting, client });
        }
        let redirects = if brought.follows_redirects {
            Redirects::Theirs
        } else {
            ours
        };
        let transport =
            refreshes.unwrap_or_else(|| ReqwestTransport::from_client(brought.client.clone()));
        Ok(Clients {
            http: brought.client,
            cookies: None,
            transport,
            baggage: Baggage::UNSEEN,
            redirects,
        })
    }

    fn make_clients(
        &self,
        redirects: Redirects,
        refreshes: Option<ReqwestTransport>,
    ) -> Result<Clients, BuildError> {
        let store = self.cookie_provider.clone();
        let store = store.unwrap_or_else(|| Arc::new(Jar::default()));
        let keeps_cookies = self.cookies.unwrap_or(true);
        let cookies = keeps_cookies.then(|| Arc::new(Cookies::new(store)));
        let builder = self.configured().redirect(Policy::none());
        let http = builder.build().map_err(BuildError::Http)?;
        let (transport, baggage) = if let Some(transport) = refreshes {
            (transport, Baggage::UNSEEN)
        } else {
            let baggage = Baggage {
                cookies: cookies.clone(),
                blind: self.configure.is_some(),
            };
            (ReqwestTransport::of(self.configured())?, baggage)
        };
        Ok(Clients {
            http,
            cookies,
            transport,
            baggage,
            redirects,
        })
    }

    /// A client in the making, as the user's closure wants it.
    fn configured(&self) -> reqwest::ClientBuilder {
        let builder = reqwest::Client::builder();
        match &self.configure {
            Some(configure) => configure(builder),
            None => builder,
        }
    }

    fn rotator(
        &mut self,
        mut builder: RotatorBuilder,
        origins: &[Origin],
    ) -> Result<Rotator, BuildError> {
        if origins.is_empty() {
            return Err(BuildError::NoOrigin);
        }
        builder = builder.anonymous();
        for origin in origins {
            builder = builder.origin(origin.to_string());
        }
        if let Some(profile) = self.profile {
            builder = builder.profile(profile);
        }
        if let Some(margin) = self.refresh_before {
            builder = builder.refresh_before(margin);
        }
        if let Some(limit) = self.wait_timeout {
            builder = builder.wait_timeout(limit);
        }
        if let Some(clock) = self.clock.take() {
            builder = clock(builder);
        }
        if let Some(header) = self.token_header.take() {
            builder = match header.format {
                Some(format) => builder.token_header_with(header.name, format),
                None => builder.token_header(header.name),
            };
        }
        let listeners: Vec<Listener> = std::mem::take(&mut self.listeners);
        for listener in listeners.iter().cloned() {
            builder = builder.on_event(move |event| listener(event));
        }
        self.said.to(listeners);
        for hook in std::mem::take(&mut self.failed) {
            builder = builder.on_event(move |event| hook.hear(event));
        }
        builder.build().map_err(BuildError::Rotator)
    }

    /// What belongs to the rotator cannot be set on a client that was given one.
    fn check_brought(
        &self,
        rotator: Rotator,
        base: Option<&BaseUrl>,
    ) -> Result<Rotator, BuildError> {
        let settings = [
            ("refresh_endpoint", self.refresh_endpoint.is_some()),
            ("refresh_client", self.refresh_client.is_some()),
            ("origin", !self.origins.is_empty()),
            ("token_header", self.token_header.is_some()),
            ("profile", self.profile.is_some()),
            ("refresh_before", self.refresh_before.is_some()),
            ("wait_timeout", self.wait_timeout.is_some()),
            ("clock", self.clock.is_some()),
            ("on_event", !self.listeners.is_empty()),
            ("on_refresh_failed", !self.failed.is_empty()),
        ];
        if let Some((setting, _)) = settings.into_iter().find(|(_, given)| *given) {
            return Err(BuildError::RotatorAnd { setting });
        }
        if rotator.origins().is_empty() {
            return Err(BuildError::Rotator(token_rotator::BuildError::NoOrigin));
        }
        let known = |base: &BaseUrl| {
            rotator
                .origins()
                .iter()
                .any(|origin| origin == base.origin())
        };
        if base.is_some_and(|base| !known(base)) {
            return Err(BuildError::RotatorOrigin);
        }
        Ok(rotator)
    }
}
