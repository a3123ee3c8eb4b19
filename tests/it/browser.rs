//! A page in a real browser logs in, refreshes and logs out; a page of somebody else tries to.
//!
//! Everything that speaks to the service is a script of a page ([`app.js`](browser/app.js), or
//! [`elsewhere.js`](browser/elsewhere.js) for somebody else's): the driver only calls its functions and reads what they
//! return. So what is proved here is what browsers make of the service's headers, not what we believe they do.

mod logins;
mod origins;
mod refusals;
mod strangers;
mod tabs;

use std::{collections::BTreeMap, ops::Deref};

use http::Method;
use kickout::{
    clock::Clock,
    config::{Config, Span},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    browser::Browser,
    client::PASSWORD,
    site::Site,
    tls::{Pair, PairFiles},
};

/// Where the page and the API are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At one origin on `http://localhost`, as behind a proxy that serves both.
    OneOrigin,
    /// At two ports of `http://localhost`.
    TwoPorts,
    /// At two hosts of one site, over TLS that the service speaks itself.
    TwoHosts,
}

impl Place {
    const ALL: [Self; 3] = [Self::OneOrigin, Self::TwoPorts, Self::TwoHosts];

    /// A page at another origin of the same site, which nobody has allowed.
    fn sibling(self) -> Site {
        match self {
            Self::OneOrigin | Self::TwoPorts => Site::plain("localhost"),
            Self::TwoHosts => Site::tls("sibling.kickout.test"),
        }
    }

    /// A page of another site.
    fn elsewhere(self) -> Site {
        match self {
            Self::OneOrigin | Self::TwoPorts => Site::plain("127.0.0.1"),
            Self::TwoHosts => Site::tls("evil.test"),
        }
    }
}

/// What is there before the service.
#[derive(Debug)]
struct Stage {
    place: Place,
    page: Site,
    /// The service's certificate, which it looks at again and again.
    files: Option<PairFiles>,
}

impl Stage {
    fn at(place: Place) -> Self {
        let (page, files) = match place {
            Place::OneOrigin | Place::TwoPorts => (Site::plain("localhost"), None),
            Place::TwoHosts => (Site::tls("app.kickout.test"), Some(PairFiles::of(Pair::shared()))),
        };
        Self { place, page, files }
    }

    /// For a service of this place, with other settings as well.
    fn configure(&self, config: &mut Config, change: impl FnOnce(&mut Config)) {
        // At one origin there is nothing to allow.
        if self.place != Place::OneOrigin {
            config.http.allowed_origins = vec![self.page.origin.parse().expect("an origin")];
        }
        if let Some(files) = &self.files {
            files.configure(config);
            // It is the handshake's, too, and a browser on a busy machine is slow.
            config.http.header_timeout = Span::from_secs(60);
        }
        change(config);
    }
}

/// A service and a page that uses it.
#[derive(Debug)]
struct World {
    service: TestApp,
    stage: Stage,
    /// The origin of the API.
    api: String,
}

impl Deref for World {
    type Target = TestApp;

    fn deref(&self) -> &TestApp {
        &self.service
    }
}

impl World {
    async fn start(place: Place, change: impl FnOnce(&mut Config)) -> Self {
        let stage = Stage::at(place);
        let service = TestApp::start_with(|config| stage.configure(config, change)).await;
        Self::of(stage, service)
    }

    /// With a service that lives by this clock.
    async fn start_at(clock: Clock, place: Place) -> Self {
        let stage = Stage::at(place);
        let service = TestApp::start_at(clock, |config| stage.configure(config, |_| {})).await;
        Self::of(stage, service)
    }

    /// With a service that has not begun to load its ledger.
    async fn start_cold(place: Place, change: impl FnOnce(&mut Config)) -> Self {
        let stage = Stage::at(place);
        let service = TestApp::start_cold(|config| stage.configure(config, change)).await;
        Self::of(stage, service)
    }

    fn of(stage: Stage, service: TestApp) -> Self {
        let port = service.public().port();
        let api = match stage.place {
            Place::OneOrigin => {
                stage.page.puts_in_front_of(service.public());
                stage.page.origin.clone()
            }
            Place::TwoPorts => format!("http://localhost:{port}"),
            Place::TwoHosts => format!("https://api.kickout.test:{port}"),
        };
        Self { service, stage, api }
    }

    /// Opens the page, in a browser that knows nothing of an earlier world.
    async fn open_anew(&self, browser: &Browser) {
        browser.forget().await;
        self.open(browser).await;
    }

    /// Opens the page.
    async fn open(&self, browser: &Browser) {
        self.open_at(&self.stage.page, browser).await;
    }

    /// Opens the same page at another origin.
    async fn open_at(&self, site: &Site, browser: &Browser) {
        browser.open(&format!("{}/?api={}", site.origin, self.api)).await;
    }

    /// How often a route has been answered with a status.
    async fn answered(&self, method: Method, route: &str, status: u16) -> u32 {
        let page = self.manage(Method::GET, "/metrics").await.expect(200);
        let text = String::from_utf8(page.body).expect("metrics are text");
        let labels = [format!("method=\"{method}\""), format!("route=\"{route}\""), format!("status=\"{status}\"")];
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("kickout_http_requests_total{"));
        let line = lines.find(|line| labels.iter().all(|label| line.contains(label)));
        line.and_then(|line| line.split_once("} ")).map_or(0, |(_, count)| count.parse().expect("a number"))
    }
}

/// What a script sees of an answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Seen {
    /// `None` if the browser tells it nothing.
    status: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Value,
}

impl Seen {
    #[track_caller]
    fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, Some(status), "{self:?}");
        self
    }

    #[track_caller]
    fn is_problem(&self, status: u16, kind: &str) {
        assert_eq!(self.status, Some(status), "{self:?}");
        assert_eq!(self.body["type"], format!("urn:kickout:problem:{kind}"), "{self:?}");
        let challenge = self.headers.get("www-authenticate");
        assert_eq!(challenge.is_some_and(|value| value.starts_with("Bearer")), status == 401, "{self:?}");
        assert_eq!(self.headers.contains_key("retry-after"), [429, 503].contains(&status), "{self:?}");
    }
}

/// Lets the page do something, and gives what it sees.
async fn does(browser: &Browser, call: &str) -> Seen {
    let seen = browser.run(&format!("return {call}"), json!([])).await;
    serde_json::from_value(seen).expect("what the page tells")
}

/// Lets the page sign a user up, with [`PASSWORD`].
async fn sign_up(browser: &Browser, name: &str) {
    let call = "return call('POST', '/v1/auth/signup', { username: arguments[0], password: arguments[1] })";
    let seen: Seen = serde_json::from_value(browser.run(call, json!([name, PASSWORD])).await).expect("an answer");
    seen.expect(201);
}

/// Lets the page log a user in.
async fn log_in(browser: &Browser, name: &str) -> Seen {
    let seen = browser.run("return logIn(...arguments)", json!([name, PASSWORD])).await;
    serde_json::from_value(seen).expect("what the page tells")
}
