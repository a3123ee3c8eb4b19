//! Users and their devices, as clients of a service.

use std::{
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
};

use http::{HeaderName, HeaderValue, Method, header};
use serde_json::{Value, json};

use super::answer::{Answer, Receipt};

/// A password that the default rules take.
pub(crate) const PASSWORD: &str = "lantern-otter-quartz-mosaic";

/// Another one.
pub(crate) const NEW_PASSWORD: &str = "harbour-violet-anvil-thicket";

pub(crate) const ACCESS: &str = "__Host-kickout-access";
pub(crate) const REFRESH: &str = "__Secure-kickout-refresh";

/// Where a service listens: on loopback. Clones follow it when it is started again.
#[derive(Debug, Clone)]
pub(crate) struct Net {
    http: reqwest::Client,
    ports: Arc<[AtomicU16; 2]>,
}

impl Net {
    pub(crate) fn new(public: SocketAddr, management: SocketAddr) -> Self {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build();
        let net = Self { http: http.expect("a client"), ports: Arc::default() };
        net.moved(public, management);
        net
    }

    pub(crate) fn moved(&self, public: SocketAddr, management: SocketAddr) {
        for (port, address) in self.ports.iter().zip([public, management]) {
            port.store(address.port(), Ordering::SeqCst);
        }
    }

    pub(crate) fn public(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports[0].load(Ordering::SeqCst)).into()
    }

    pub(crate) fn management(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports[1].load(Ordering::SeqCst)).into()
    }

    /// A request to the public listener, with nothing in it yet.
    pub(crate) fn call(&self, method: Method, path: &str) -> Call {
        Call::new(self, self.public(), method, path)
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }

    /// A request to the management listener.
    pub(crate) fn manage(&self, method: Method, path: &str) -> Call {
        Call::new(self, self.management(), method, path)
    }

    /// A new account with [`PASSWORD`].
    pub(crate) async fn sign_up(&self, name: &str) -> User {
        let body = json!({"username": name, "password": PASSWORD});
        let answer = self.post("/v1/auth/signup").json(&body).await.expect(201).json();
        User {
            net: self.clone(),
            name: name.to_owned(),
            subject: text(&answer["subject"]),
            password: Mutex::new(PASSWORD.to_owned()),
        }
    }

    /// Asserts that a token is refused wherever a token can be shown, as that of an ended session.
    pub(crate) async fn refuses(&self, token: &str) {
        self.refuses_as(token, "session-ended").await;
    }

    /// Asserts that a token is refused wherever a token can be shown, as one that a refresh can replace.
    pub(crate) async fn takes_back(&self, token: &str) {
        self.refuses_as(token, "token-expired").await;
    }

    async fn refuses_as(&self, token: &str, problem: &str) {
        for call in self.uses(token) {
            let what = call.to_string();
            let answer = call.await;
            assert_eq!(answer.problem().as_deref(), Some(problem), "{what}: {answer}");
            answer.is_problem(401, problem);
        }
    }

    /// Asserts that a token is good wherever a token can be shown.
    pub(crate) async fn accepts(&self, token: &str) {
        for call in self.uses(token) {
            let what = call.to_string();
            let answer = call.await;
            assert_eq!(answer.status, 200, "{what}: {answer}");
        }
    }

    /// Whether a token is good, where that is asked most.
    pub(crate) async fn is_good(&self, token: &str) -> bool {
        let answer = self.get("/v1/auth/verify").bearer(token).await;
        assert!([200, 401].contains(&answer.status.as_u16()), "{answer}");
        answer.status == 200
    }

    /// Every way to show a token.
    fn uses(&self, token: &str) -> Vec<Call> {
        let paths = ["/v1/auth/me", "/v1/auth/verify", "/v1/auth/sessions", "/v1/auth/csrf"];
        let both = |path| [self.get(path).cookie(ACCESS, token), self.get(path).bearer(token)];
        paths.into_iter().flat_map(both).collect()
    }
}

/// A request in the making. Awaiting it sends it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    http: reqwest::Client,
    address: SocketAddr,
    method: Method,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    cookies: Vec<String>,
    body: Option<Vec<u8>>,
}

impl Call {
    fn new(net: &Net, address: SocketAddr, method: Method, path: &str) -> Self {
        let path = path.to_owned();
        Self { http: net.http.clone(), address, method, path, headers: Vec::new(), cookies: Vec::new(), body: None }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.parse().expect("a header's name"), value.parse().expect("a header's value")));
        self
    }

    pub(crate) fn cookie(mut self, name: &str, value: &str) -> Self {
        self.cookies.push(format!("{name}={value}"));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// As a page of the service's own origin sends it.
    pub(crate) fn same_origin(self) -> Self {
        self.header("sec-fetch-site", "same-origin")
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub(crate) fn body(mut self, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self.header("content-type", kind)
    }

    async fn send(self) -> Answer {
        self.try_send().await.expect("an answer")
    }

    /// Sends it to somebody who may not be there.
    pub(crate) async fn try_send(mut self) -> Result<Answer, reqwest::Error> {
        if !self.cookies.is_empty() {
            let value = self.cookies.join("; ").parse().expect("cookies are text");
            self.headers.push((header::COOKIE, value));
        }
        let mut request = self.http.request(self.method, format!("http://{}{}", self.address, self.path));
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        if let Some(body) = self.body {
            request = request.body(body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Answer { status, headers, body: response.bytes().await?.to_vec() })
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {:?} {:?}", self.method, self.path, self.headers, self.cookies)
    }
}

impl IntoFuture for Call {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// Somebody with an account.
#[derive(Debug)]
pub(crate) struct User {
    net: Net,
    pub(crate) name: String,
    pub(crate) subject: String,
    password: Mutex<String>,
}

impl User {
    /// Logs in with a browser of their own that is not used for anything else.
    pub(crate) async fn log_in(&self) -> Device {
        let device = Device::browser(&self.net);
        device.log_in(self).await;
        device
    }

    /// Logs in with a client that keeps its tokens itself.
    pub(crate) async fn log_in_for_bearer(&self) -> Device {
        let mut body = self.credentials();
        body["delivery"] = "body".into();
        let answer = self.net.post("/v1/auth/login").json(&body).await.expect(200);
        let json = answer.json();
        let tokens = (text(&json["access_token"]), text(&json["refresh_token"]));
        Device { net: self.net.clone(), is_browser: false, state: Mutex::new(State::of(&json, Some(tokens))) }
    }

    /// Tries to log in with a password.
    pub(crate) async fn try_log_in(&self, password: &str) -> Answer {
        self.net.post("/v1/auth/login").json(&json!({"username": self.name, "password": password})).await
    }

    /// The body of a login.
    pub(crate) fn credentials(&self) -> Value {
        json!({"username": self.name, "password": *self.password.lock().unwrap_or_else(PoisonError::into_inner)})
    }

    /// From now on the user knows another password.
    pub(crate) fn remembers(&self, password: &str) {
        password.clone_into(&mut self.password.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What a device keeps.
#[derive(Debug, Clone, Default)]
struct State {
    access: Option<String>,
    refresh: Option<String>,
    session: String,
    csrf: String,
}

impl State {
    fn of(login: &Value, tokens: Option<(String, String)>) -> Self {
        let (access, refresh) = tokens.unzip();
        let csrf = login["csrf_token"].as_str().unwrap_or_default().to_owned();
        Self { access, refresh, session: text(&login["session"]), csrf }
    }
}

/// A browser with its cookies, or a client with its tokens.
#[derive(Debug)]
pub(crate) struct Device {
    net: Net,
    is_browser: bool,
    state: Mutex<State>,
}

impl Device {
    /// A browser that nobody has logged in with.
    pub(crate) fn browser(net: &Net) -> Self {
        Self { net: net.clone(), is_browser: true, state: Mutex::default() }
    }

    /// Logs a user in with this browser, which may have a session already.
    pub(crate) async fn log_in(&self, user: &User) -> Answer {
        let answer = self.send(self.call(Method::POST, "/v1/auth/login").json(&user.credentials())).await.expect(200);
        let json = answer.json();
        let mut state = self.lock();
        (state.session, state.csrf) = (text(&json["session"]), text(&json["csrf_token"]));
        drop(state);
        answer
    }

    /// A request with what the device would send along.
    pub(crate) fn call(&self, method: Method, path: &str) -> Call {
        let call = self.net.call(method, path);
        let State { access, refresh, .. } = self.state();
        if !self.is_browser {
            return match access {
                Some(token) => call.bearer(&token),
                None => call,
            };
        }
        let mut call = call.same_origin();
        if let Some(token) = access {
            call = call.cookie(ACCESS, &token);
        }
        if let Some(token) = refresh.filter(|_| path.starts_with("/v1/auth/")) {
            call = call.cookie(REFRESH, &token);
        }
        call
    }

    /// Sends a request and takes in what the answer sets.
    pub(crate) async fn send(&self, call: Call) -> Answer {
        let answer = call.await;
        if !self.is_browser {
            return answer;
        }
        let mut state = self.lock();
        for cookie in answer.set_cookies() {
            let slot = match (cookie.name.as_str(), cookie.attribute("path")) {
                (ACCESS, Some("/")) => &mut state.access,
                (REFRESH, Some("/v1/auth")) => &mut state.refresh,
                _ => panic!("not one of our cookies: {cookie:?}"),
            };
            *slot = (cookie.attribute("max-age") != Some("0")).then_some(cookie.value);
        }
        drop(state);
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.call(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.call(Method::POST, path).json(body)).await
    }

    /// A refresh as the device would ask for it: with its cookie, or its token in the body.
    pub(crate) fn refreshing(&self) -> Call {
        if self.is_browser {
            return self.call(Method::POST, "/v1/auth/refresh").json(&json!({}));
        }
        self.net.post("/v1/auth/refresh").json(&json!({"refresh_token": self.refresh()}))
    }

    /// Refreshes, and goes on with what it gets.
    pub(crate) async fn renew(&self) -> Answer {
        let answer = self.send(self.refreshing()).await.expect(200);
        if !self.is_browser {
            let json = answer.json();
            let mut state = self.lock();
            state.access = Some(text(&json["access_token"]));
            state.refresh = Some(text(&json["refresh_token"]));
        }
        answer
    }

    pub(crate) async fn log_out(&self) -> Receipt {
        self.post("/v1/auth/logout", &json!({})).await.receipt()
    }

    pub(crate) async fn log_out_everywhere(&self) -> Receipt {
        self.post("/v1/auth/logout-all", &json!({})).await.receipt()
    }

    /// Logs out everywhere else. A client without cookies goes on with the token of the receipt.
    pub(crate) async fn log_out_elsewhere(&self) -> Receipt {
        let receipt = self.post("/v1/auth/logout-all", &json!({"keep_current": true})).await.receipt();
        self.go_on_with(&receipt);
        receipt
    }

    pub(crate) async fn change_password(&self, user: &User, new: &str) -> Receipt {
        let body = json!({"current": user.credentials()["password"], "new": new});
        let receipt = self.post("/v1/auth/password", &body).await.receipt();
        user.remembers(new);
        self.go_on_with(&receipt);
        receipt
    }

    /// Ends one session of the same user.
    pub(crate) async fn end(&self, session: &str) -> Answer {
        self.send(self.call(Method::DELETE, &format!("/v1/auth/sessions/{session}"))).await
    }

    /// The access token that the device has now.
    pub(crate) fn access(&self) -> String {
        self.state().access.expect("the device has an access token")
    }

    /// The refresh token that it has now.
    pub(crate) fn refresh(&self) -> String {
        self.state().refresh.expect("the device has a refresh token")
    }

    pub(crate) fn has_cookies(&self) -> bool {
        self.state().access.is_some() || self.state().refresh.is_some()
    }

    pub(crate) fn session(&self) -> String {
        self.state().session
    }

    /// The CSRF token that the login gave.
    pub(crate) fn csrf(&self) -> String {
        self.state().csrf
    }

    fn go_on_with(&self, receipt: &Receipt) {
        assert_eq!(receipt.access_token.is_some(), !self.is_browser, "cookies or a token in the body: {receipt:?}");
        if let Some(token) = &receipt.access_token {
            self.lock().access = Some(token.clone());
        }
    }

    fn state(&self) -> State {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}
