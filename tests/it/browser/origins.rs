//! Which origins may use the API, and which hosts get its cookies.

use http::Method;
use serde_json::json;

use super::{Place, World, does, log_in, sign_up};
use crate::support::{
    browser::Browser,
    client::{ACCESS, REFRESH},
    site::Site,
};

#[tokio::test]
async fn an_allowed_origin_can_do_everything_and_another_one_of_the_same_site_nothing() {
    let browser = Browser::start().await;
    for place in [Place::TwoPorts, Place::TwoHosts] {
        let world = World::start(place, |_| {}).await;
        world.open_anew(&browser).await;
        for name in ["alice", "mallory"] {
            sign_up(&browser, name).await;
        }
        log_in(&browser, "alice").await.expect(200);
        does(&browser, "me()").await.expect(200);
        does(&browser, "refresh()").await.expect(200);
        does(&browser, "me()").await.expect(200);
        does(&browser, "logOut()").await.expect(200);
        let preflights = world.answered(Method::OPTIONS, "/v1/auth/login", 200).await;
        assert_eq!(preflights, 1, "the browser has asked first");
        log_in(&browser, "alice").await.expect(200);

        let cookies = browser.cookies().await;
        let read = world.answered(Method::GET, "/v1/auth/me", 200).await;
        let sibling = place.sibling();
        world.open_at(&sibling, &browser).await;
        // The browser asks, and does not send it.
        assert_eq!(log_in(&browser, "mallory").await.status, None);
        // It sends these, with the cookies, and tells the page nothing.
        assert_eq!(does(&browser, "me()").await.status, None);
        assert_eq!(does(&browser, "call('POST', '/v1/auth/refresh')").await.status, None);
        assert_eq!(does(&browser, "logOut()").await.status, None);
        assert_eq!(world.answered(Method::GET, "/v1/auth/me", 200).await, read + 1);
        assert_eq!(world.answered(Method::POST, "/v1/auth/refresh", 403).await, 1);
        assert_eq!(world.answered(Method::POST, "/v1/auth/logout", 403).await, 1);
        assert_eq!(world.answered(Method::POST, "/v1/auth/login", 200).await, 2);
        assert_eq!(browser.cookies().await, cookies);

        world.open(&browser).await;
        assert_eq!(does(&browser, "me()").await.expect(200).body["username"], "alice");
        does(&browser, "logOut()").await.expect(200);
    }
}

/// The names of the cookies that another host of the site gets.
async fn gets(site: &Site, browser: &Browser, path: &str) -> String {
    browser.open(&format!("{}{path}", site.origin)).await;
    let text = browser.run("return document.body.innerText", json!([])).await;
    text.as_str().expect("a text").to_owned()
}

#[tokio::test]
async fn sibling_hosts_get_the_cookies_of_a_domain_and_none_without_one() {
    const SHARED: &str = "__Secure-kickout-access";
    let browser = Browser::start().await;
    let sibling = Site::tls("files.kickout.test");
    let world = World::start(Place::TwoHosts, |_| {}).await;
    world.open(&browser).await;
    sign_up(&browser, "alice").await;
    log_in(&browser, "alice").await.expect(200);
    assert_eq!(gets(&sibling, &browser, "/cookies").await, "");
    assert_eq!(gets(&sibling, &browser, "/v1/auth/cookies").await, "");
    assert_eq!(browser.cookies().await[REFRESH].domain, "api.kickout.test");

    // The same hosts, for which there is a domain from now on. What the browser still has is replaced, not joined.
    let world = World::start(Place::TwoHosts, |config| config.cookies.domain = "kickout.test".to_owned()).await;
    world.open(&browser).await;
    sign_up(&browser, "alice").await;
    log_in(&browser, "alice").await.expect(200);
    assert_eq!(does(&browser, "me()").await.expect(200).body["username"], "alice");
    let cookies = browser.cookies().await;
    assert_eq!(cookies.keys().collect::<Vec<_>>(), [ACCESS, SHARED, REFRESH]);
    for (name, path) in [(SHARED, "/"), (REFRESH, "/v1/auth")] {
        let cookie = &cookies[name];
        assert_eq!((&*cookie.domain, &*cookie.path), (".kickout.test", path), "{cookie:?}");
        assert!(cookie.secure && cookie.http_only, "{cookie:?}");
    }
    assert_eq!(gets(&sibling, &browser, "/cookies").await, SHARED);
    assert_eq!(gets(&sibling, &browser, "/v1/auth/cookies").await, format!("{SHARED} {REFRESH}"));

    world.open(&browser).await;
    does(&browser, "logOut()").await.expect(200);
    assert_eq!(gets(&sibling, &browser, "/v1/auth/cookies").await, "");
    let left = browser.cookies().await;
    assert_eq!(left.keys().collect::<Vec<_>>(), [ACCESS], "of the time before the domain; it opens nothing here");
}
