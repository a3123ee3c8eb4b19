//! What a page of somebody else can do with the cookies of a user who is logged in: nothing.

use http::Method;
use kickout::config::SameSite;
use serde_json::{Value, json};

use super::{Place, World, does, log_in, sign_up};
use crate::support::{
    browser::{self, Browser},
    client::{PASSWORD, text},
    site::Site,
    wait::eventually,
};

/// What stands in the tab, once it is there.
const LANDED: &str = "
    const [loading] = performance.getEntriesByType('navigation');
    if (location.href !== arguments[0] || document.readyState !== 'complete' || !loading.responseStatus) return null;
    return { status: loading.responseStatus, text: document.body.innerText };
";

/// Waits until the tab has come to an address. Gives the status and the text of what stands there.
async fn lands(browser: &Browser, url: &str) -> (u64, String) {
    let mut landed = Value::Null;
    eventually!(
        {
            // A page that is going away answers nothing.
            landed = browser.try_run(LANDED, json!([url])).await.unwrap_or_default();
            !landed.is_null()
        },
        browser::LIMIT
    );
    (landed["status"].as_u64().expect("a status"), text(&landed["text"]))
}

/// Lets a page send a form, which takes the tab to the answer. Gives its status and the kind of its problem.
async fn sends_form(site: &Site, browser: &Browser, action: &str, field: (&str, &str)) -> (u64, String) {
    browser.open(&format!("{}/elsewhere", site.origin)).await;
    browser.run("sendForm(...arguments)", json!([action, field.0, field.1])).await;
    let (status, said) = lands(browser, action).await;
    let problem: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let kind = text(&problem["type"]);
    (status, kind.strip_prefix("urn:kickout:problem:").expect("a problem").to_owned())
}

/// A status, and the kind of a problem.
type Refusal = (u16, &'static str);

/// Acts that change something, and how each is refused if the cookies travel, and if they do not.
const ACTS: [(&str, Refusal, Refusal); 5] = [
    // Before anybody looks at cookies.
    ("/v1/auth/login", (403, "csrf-refused"), (403, "csrf-refused")),
    ("/v1/auth/refresh", (403, "csrf-refused"), (415, "unsupported-media-type")),
    ("/v1/auth/logout", (403, "csrf-refused"), (415, "unsupported-media-type")),
    ("/v1/auth/logout-all", (403, "csrf-refused"), (401, "token-missing")),
    ("/v1/auth/password", (403, "csrf-refused"), (401, "token-missing")),
];

/// A field of a form that is a login of somebody else when it is sent as plain text.
fn login_of_mallory() -> (String, &'static str) {
    (format!(r#"{{"username":"mallory","password":"{PASSWORD}","device":""#), r#""}"#)
}

#[tokio::test]
async fn forms_and_blind_requests_of_other_pages_change_nothing_with_and_without_the_cookies() {
    let browser = Browser::start().await;
    for place in [Place::OneOrigin, Place::TwoHosts] {
        let world = World::start(place, |_| {}).await;
        world.open_anew(&browser).await;
        for name in ["alice", "mallory"] {
            sign_up(&browser, name).await;
        }
        log_in(&browser, "alice").await.expect(200);
        let cookies = browser.cookies().await;

        // A browser keeps `SameSite=Lax` cookies from another site's POST. From a sibling they travel, and the service
        // refuses.
        for (site, they_travel) in [(place.elsewhere(), false), (place.sibling(), true)] {
            for (path, with, without) in ACTS {
                let (status, kind) = if they_travel { with } else { without };
                let action = format!("{}{path}", world.api);
                let (name, value) = login_of_mallory();
                let answer = sends_form(&site, &browser, &action, (&name, value)).await;
                assert_eq!(answer, (u64::from(status), kind.to_owned()), "{path} {they_travel}");

                browser.open(&format!("{}/elsewhere", site.origin)).await;
                let before = world.answered(Method::POST, path, status).await;
                let blind = json!(["POST", action, format!("{name}{value}")]);
                let seen = browser.run("return sendBlindly(...arguments)", blind).await;
                assert!(seen.is_null() || seen["type"] == "opaque", "{seen}");
                assert_eq!(world.answered(Method::POST, path, status).await, before + 1, "{path} {they_travel}");
            }
            let seen = browser.run("return read(...arguments)", json!([format!("{}/v1/auth/me", world.api)])).await;
            assert!(seen.is_null(), "{seen}");
        }

        assert_eq!(browser.cookies().await, cookies);
        world.open(&browser).await;
        assert_eq!(does(&browser, "me()").await.expect(200).body["username"], "alice");
        does(&browser, "logOut()").await.expect(200);
    }
}

#[tokio::test]
async fn a_link_from_another_site_carries_lax_cookies_and_no_strict_ones() {
    let browser = Browser::start().await;
    let elsewhere = Place::TwoHosts.elsewhere();
    for (same_site, status) in [(SameSite::Lax, 200), (SameSite::Strict, 401)] {
        let world = World::start(Place::TwoHosts, |config| config.cookies.same_site = same_site).await;
        world.open_anew(&browser).await;
        sign_up(&browser, "alice").await;
        log_in(&browser, "alice").await.expect(200);
        does(&browser, "me()").await.expect(200);
        browser.open(&format!("{}/elsewhere", elsewhere.origin)).await;
        let url = format!("{}/v1/auth/me", world.api);
        browser.run("location.href = arguments[0]", json!([url])).await;
        let (answered, said) = lands(&browser, &url).await;
        assert_eq!(answered, status, "{same_site:?}: {said}");
    }
}
