//! Checks the settings and creates the client.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use reqwest::redirect::Policy;
use token_rotator::middleware::RotatorExt as _;
use token_rotator::{Event, Origin, Rotator, RotatorBuilder};
use url::Url;

use crate::builder::{ClientBuilder, ClientSettings};
use crate::client::{Client, Core, Full, SendOnly};
use crate::cookies::Cookies;
use crate::error::BuildError;
use crate::hooks::EventListener;
use crate::jar::Jar;
use crate::locate::{BaseUrl, locate};
use crate::redirect::Redirects;
use crate::refresh::{EndpointSettings, RefreshSecrets};
use crate::session::SessionHandle;
use crate::state::{CanBuild, RotatorSetup};
use crate::transport::ReqwestTransport;

const DEFAULT_ENDPOINT: &str = "/api/auth/refresh";
const DEFAULT_REDIRECTS: usize = 10;

// The bounds are on the methods, so that the compiler prints the messages of the trait `CanBuild`.
impl<State> ClientBuilder<State> {
    /// Builds the client.
    ///
    /// *Errors*: a setting cannot be used; the error names the setting and the action.
    pub fn build(self) -> Result<Client<Full>, BuildError>
    where
        State: CanBuild,
    {
        self.core().map(|core| Client::of(Arc::new(core)))
    }

    /// Builds a client that can only send and read the token, and the handle that can sign in and
    /// out.
    ///
    /// *Errors*: as for [`build`](Self::build).
    pub fn build_split(self) -> Result<(Client<SendOnly>, SessionHandle), BuildError>
    where
        State: CanBuild,
    {
        let client = self.build()?;
        let session = client.session();
        Ok((client.into(), session))
    }

    fn core(self) -> Result<Core, BuildError>
    where
        State: CanBuild,
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
        let endpoint = settings.endpoint(base.as_ref(), &origins, state.needs_endpoint())?;
        let Clients {
            http,
            cookies,
            transport,
            secrets,
            redirects,
        } = settings.clients()?;
        let endpoint_settings = EndpointSettings {
            transport,
            base: base.clone(),
            endpoint: endpoint.clone(),
            origins: origins.iter().cloned().collect(),
            headers: settings.default_headers.clone(),
            secrets: secrets.clone(),
        };
        let rotator = match state.setup(endpoint_settings, &settings.hook_reporter)? {
            RotatorSetup::Built(rotator) => settings.check_own_rotator(rotator, base.as_ref())?,
            RotatorSetup::Builder(builder) => settings.rotator(builder, &origins)?,
            RotatorSetup::Endpoint(builder) => {
                settings.rotator(end_cookie_epochs(builder, secrets), &origins)?
            }
        };
        if matches!(redirects, Redirects::FollowedByClient) {
            let default_headers = settings.default_headers.keys();
            let mut carried = default_headers.chain([rotator.header_name()]);
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

/// The reqwest clients of a client, with their cookies.
struct Clients {
    /// Sends requests.
    http: reqwest::Client,
    /// Cookies of requests.
    cookies: Option<Arc<Cookies>>,
    /// Refreshes.
    transport: ReqwestTransport,
    /// Cookies and hidden secrets of refreshes.
    secrets: RefreshSecrets,
    redirects: Redirects,
}

/// Starts a new epoch of the cookies at every sign-in and sign-out, before other listeners run.
fn end_cookie_epochs(builder: RotatorBuilder, secrets: RefreshSecrets) -> RotatorBuilder {
    let Some(cookies) = secrets.cookies else {
        return builder;
    };
    builder.on_event(move |event| {
        if matches!(event, Event::SignedIn { .. } | Event::SignedOut) {
            cookies.begin_epoch();
        }
    })
}

impl ClientSettings {
    fn origins(&self, base: Option<&BaseUrl>) -> Result<Vec<Origin>, BuildError> {
        let mut origins: Vec<Origin> = base.map(BaseUrl::origin).cloned().into_iter().collect();
        for origin in &self.origins {
            origins.push(origin.parse().map_err(BuildError::Origin)?);
        }
        Ok(origins)
    }

    /// Returns the refresh endpoint that was set, or the default endpoint if `is_needed`.
    fn endpoint(
        &self,
        base: Option<&BaseUrl>,
        origins: &[Origin],
        is_needed: bool,
    ) -> Result<Option<Url>, BuildError> {
        let endpoint = match (&self.refresh_endpoint, is_needed) {
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
        let followed_here = Redirects::FollowedHere {
            limit: self.max_redirects.unwrap_or(DEFAULT_REDIRECTS),
        };
        if self.own_clients.len() > 1 {
            return Err(BuildError::TwoClients);
        }
        let refresh_client = self.refresh_client.clone();
        let transport = refresh_client.map(ReqwestTransport::from_client);
        let Some(own_client) = self.own_clients.pop() else {
            return self.create_clients(followed_here, transport);
        };
        let client = if own_client.follows_redirects {
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
                own_client.follows_redirects && self.max_redirects.is_some(),
            ),
        ];
        if let Some((setting, _)) = settings.into_iter().find(|(_, is_set)| *is_set) {
            return Err(BuildError::ClientAnd { setting, client });
        }
        let redirects = if own_client.follows_redirects {
            Redirects::FollowedByClient
        } else {
            followed_here
        };
        let transport =
            transport.unwrap_or_else(|| ReqwestTransport::from_client(own_client.client.clone()));
        Ok(Clients {
            http: own_client.client,
            cookies: None,
            transport,
            secrets: RefreshSecrets::UNSEEN,
            redirects,
        })
    }

    fn create_clients(
        &self,
        redirects: Redirects,
        transport: Option<ReqwestTransport>,
    ) -> Result<Clients, BuildError> {
        let store = self.cookie_provider.clone();
        let store = store.unwrap_or_else(|| Arc::new(Jar::default()));
        let keeps_cookies = self.cookies.unwrap_or(true);
        let cookies = keeps_cookies.then(|| Arc::new(Cookies::new(store)));
        let builder = self.configured().redirect(Policy::none());
        let http = builder.build().map_err(BuildError::Http)?;
        let (transport, secrets) = if let Some(transport) = transport {
            (transport, RefreshSecrets::UNSEEN)
        } else {
            let secrets = RefreshSecrets {
                cookies: cookies.clone(),
                has_unseen: self.configure.is_some(),
            };
            (ReqwestTransport::of(self.configured())?, secrets)
        };
        Ok(Clients {
            http,
            cookies,
            transport,
            secrets,
            redirects,
        })
    }

    /// Returns a reqwest builder with the settings of the user's closure.
    fn configured(&self) -> reqwest::ClientBuilder {
        let builder = crate::transport::client_builder();
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
        let listeners: Vec<EventListener> = std::mem::take(&mut self.listeners);
        for listener in listeners.iter().cloned() {
            builder = builder.on_event(move |event| listener(event));
        }
        self.hook_reporter.set_listeners(listeners);
        for hook in std::mem::take(&mut self.failed_hooks) {
            builder = builder.on_event(move |event| hook.on_event(event));
        }
        builder.build().map_err(BuildError::Rotator)
    }

    /// Checks a rotator that the caller built. Settings that belong to the rotator's builder
    /// are errors.
    fn check_own_rotator(
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
            ("on_refresh_failed", !self.failed_hooks.is_empty()),
        ];
        if let Some((setting, _)) = settings.into_iter().find(|(_, is_set)| *is_set) {
            return Err(BuildError::RotatorAnd { setting });
        }
        if rotator.origins().is_empty() {
            return Err(BuildError::Rotator(token_rotator::BuildError::NoOrigin));
        }
        let has_origin_of = |base: &BaseUrl| {
            rotator
                .origins()
                .iter()
                .any(|origin| origin == base.origin())
        };
        if base.is_some_and(|base| !has_origin_of(base)) {
            return Err(BuildError::RotatorOrigin);
        }
        Ok(rotator)
    }
}
