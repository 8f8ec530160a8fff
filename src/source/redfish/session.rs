//! Asking a BMC over HTTPS as somebody it knows. One session at a time: it is begun when it is needed,
//! begun anew when the BMC has forgotten it, and ended when it is let go of, since a BMC has room for
//! few and keeps a forgotten one for half an hour.

use super::{Trouble, shape};
use crate::http_client::{self, Answer, Bounds, Client, ClientError, Protocol, TlsFiles};
use crate::kernel_file::read_text;
use crate::model::quantity::Nanos;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// A BMC under load takes seconds for one answer.
const BOUNDS: Bounds =
    Bounds { connect: Duration::from_secs(5), answer: Duration::from_secs(15), bytes: 1 << 20 };

/// The end of a session is not waited for longer: the program has to stop.
const GOOD_BYE: Duration = Duration::from_millis(400);

/// Where sessions are, by DSP0266.
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// The session's proof.
const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// The longest that a BMC may ask us to wait.
const MAX_RETRY_AFTER_SECONDS: u64 = 600;

/// How we say who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// By a session; by name and password each time, if the BMC has no sessions.
    Session,
    /// By name and password each time.
    Basic,
}

/// Where a BMC is, and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Scheme, host and port.
    pub base: String,
    /// The user's name; without one nobody logs in.
    pub user: Option<String>,
    /// The file with the password, read anew for each login.
    pub password_file: Option<PathBuf>,
    /// Root certificates instead of the machine's own.
    pub ca_file: Option<PathBuf>,
    /// How we say who we are.
    pub auth: Auth,
}

/// The way to a BMC.
pub struct Session {
    service: Service,
    client: Client,
    auth: Auth,
    token: Option<Token>,
}

struct Token {
    value: HeaderValue,
    path: Option<String>,
}

impl Session {
    /// Reads the certificates; nothing is asked yet.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn open(service: Service) -> Result<Session, Trouble> {
        let is_secure = service.base.starts_with("https://");
        let files = TlsFiles { ca: service.ca_file.clone(), ..TlsFiles::default() };
        let client = Client::open(Protocol::Http1, is_secure, &files, BOUNDS).map_err(Trouble::Client)?;
        Ok(Session { auth: service.auth, service, client, token: None })
    }

    /// A resource.
    ///
    /// # Errors
    /// There is none, or none for us.
    pub async fn get(&mut self, path: &str) -> Result<Value, Trouble> {
        let mut answer = self.ask(path).await?;
        // The session has ended, or the BMC has started anew.
        if answer.status == StatusCode::UNAUTHORIZED && self.token.is_some() {
            // If it lives after all, it must not be left lying there: a BMC has room for a few.
            self.close().await;
            answer = self.ask(path).await?;
        }
        if answer.status == StatusCode::UNAUTHORIZED {
            // A BMC that has no sessions while it starts may have them later.
            self.auth = self.service.auth;
        }
        check(&answer, path)?;
        shape::parse(&answer.body).ok_or_else(|| Trouble::Malformed(path.to_owned()))
    }

    async fn ask(&mut self, path: &str) -> Result<Answer, Trouble> {
        let mut head = vec![(ACCEPT, HeaderValue::from_static("application/json"))];
        if let Some((user, password)) = self.credentials()? {
            if self.auth == Auth::Session && self.token.is_none() {
                self.begin(&user, &password).await?;
            }
            head.push(match &self.token {
                Some(token) => (TOKEN, token.value.clone()),
                None => (AUTHORIZATION, basic(&user, &password)?),
            });
        }
        self.send(Method::GET, path, &head, Bytes::new()).await
    }

    /// Begins a session, or finds that the BMC has none.
    async fn begin(&mut self, user: &str, password: &str) -> Result<(), Trouble> {
        let json = HeaderValue::from_static("application/json");
        let head = [(ACCEPT, json.clone()), (CONTENT_TYPE, json)];
        let body = json!({"UserName": user, "Password": password}).to_string();
        let answer = self.send(Method::POST, SESSIONS, &head, body.into()).await?;
        match (answer.status, answer.headers.get(TOKEN).cloned()) {
            (StatusCode::OK | StatusCode::CREATED, Some(mut value)) => {
                value.set_sensitive(true);
                self.token = Some(Token { value, path: self.place(&answer) });
                Ok(())
            }
            (
                StatusCode::OK
                | StatusCode::CREATED
                | StatusCode::NOT_FOUND
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::NOT_IMPLEMENTED,
                _,
            ) => {
                tracing::info!("the BMC has no Redfish sessions: name and password go with each request");
                self.auth = Auth::Basic;
                Ok(())
            }
            (StatusCode::BAD_REQUEST, _) => Err(Trouble::Login),
            _ => check(&answer, SESSIONS).and(Err(Trouble::Malformed(SESSIONS.to_owned()))),
        }
    }

    /// Ends the session, so that it takes up no room on the BMC.
    pub async fn close(&mut self) {
        let Some(Token { value, path: Some(path) }) = self.token.take() else { return };
        if let Ok(mut request) = self.request(Method::DELETE, &path, Bytes::new()) {
            request.headers_mut().insert(TOKEN, value);
            let _ = self.client.send_within(request, GOOD_BYE).await;
        }
    }

    /// Sends, and once more if all that the BMC wants is another end of the path.
    async fn send(
        &self,
        method: Method,
        path: &str,
        head: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Answer, Trouble> {
        let send = async |path: &str| {
            let mut request = self.request(method.clone(), path, body.clone())?;
            request.headers_mut().extend(head.iter().cloned());
            self.client.send(request).await.map_err(Trouble::Client)
        };
        match send(path).await {
            Err(Trouble::Client(ClientError::Redirect { to, .. })) => match self.beside(path, &to) {
                Some(path) => send(&path).await,
                None => Err(Trouble::Elsewhere(to)),
            },
            answer => answer,
        }
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Bytes>, Trouble> {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.service.base));
        request.body(body).map_err(|_| Trouble::Malformed(path.to_owned()))
    }

    /// The session's own path: of the head, where it may be a whole URL, else of the body.
    fn place(&self, answer: &Answer) -> Option<String> {
        let head = answer.headers.get(LOCATION).and_then(|place| place.to_str().ok());
        let head = head.map(|place| place.strip_prefix(&self.service.base).unwrap_or(place).to_owned());
        let body = || shape::parse(&answer.body)?.get("@odata.id")?.as_str().map(str::to_owned);
        let is_path = |path: &String| path.starts_with("/redfish/");
        head.filter(is_path).or_else(|| body().filter(is_path))
    }

    /// The same path with or without a slash at its end, if that is all that a redirect is about: then
    /// nobody else gets to see what we send.
    fn beside(&self, path: &str, to: &str) -> Option<String> {
        let to = to.strip_prefix(&self.service.base).unwrap_or(to);
        (to != path && to.trim_end_matches('/') == path.trim_end_matches('/')).then(|| to.to_owned())
    }

    fn credentials(&self) -> Result<Option<(String, String)>, Trouble> {
        let Some(user) = &self.service.user else { return Ok(None) };
        let password = match &self.service.password_file {
            Some(path) => read_text(path).map_err(Trouble::Password)?,
            None => String::new(),
        };
        Ok(Some((user.clone(), password)))
    }
}

/// Scheme, host and port of a URL that the user gave; with a password it must not go in clear text beyond
/// this machine.
///
/// # Errors
/// It cannot be asked, in words that do not repeat it.
pub fn base(text: &str, has_password: bool) -> Result<String, String> {
    let url = http_client::url(text).map_err(|error| error.to_string())?;
    let (Some(scheme), Some(authority)) = (url.scheme_str(), url.authority()) else {
        return Err("the URL has no host".to_owned());
    };
    if authority.as_str().contains('@') {
        return Err("name and password belong in redfish.user and redfish.password_file".to_owned());
    }
    if !matches!(url.path(), "/" | "/redfish/v1" | "/redfish/v1/") || url.query().is_some() {
        return Err("give the BMC's address without a path (https://bmc17)".to_owned());
    }
    let is_here = matches!(authority.host(), "localhost" | "127.0.0.1" | "[::1]");
    if has_password && scheme == "http" && !is_here {
        return Err("the password would go in clear text (write https://)".to_owned());
    }
    Ok(format!("{scheme}://{authority}"))
}

fn basic(user: &str, password: &str) -> Result<HeaderValue, Trouble> {
    let text = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")));
    let mut value = HeaderValue::from_str(&text).map_err(|_| Trouble::Login)?;
    value.set_sensitive(true);
    Ok(value)
}

/// What a status comes to.
fn check(answer: &Answer, path: &str) -> Result<(), Trouble> {
    match answer.status {
        status if status.is_success() => Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Trouble::Login),
        StatusCode::NOT_FOUND
        | StatusCode::GONE
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::NOT_IMPLEMENTED => Err(Trouble::Missing(path.to_owned())),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            let seconds = answer.headers.get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
            let seconds = seconds.unwrap_or(0_u64).min(MAX_RETRY_AFTER_SECONDS);
            Err(Trouble::Busy { wait: Nanos::from_seconds(seconds) })
        }
        status => Err(Trouble::Status(status.as_u16())),
    }
}
