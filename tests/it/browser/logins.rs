//! Logging in and out.

use kickout::config::{Config, Span};
use serde_json::json;

use super::{Place, World, does, log_in, sign_up};
use crate::support::{
    browser::Browser,
    client::{ACCESS, REFRESH, text},
};

/// Everything that a script can reach where something may be kept.
const KEPT: &str = "return (async () => JSON.stringify([
    { ...localStorage }, { ...sessionStorage }, await indexedDB.databases(), await caches.keys(),
    await cookieStore.getAll(), document.documentElement.outerHTML, location.href, history.state, window.name,
]))()";

#[tokio::test]
async fn a_login_gives_the_browser_two_cookies_and_scripts_no_token_and_a_logout_takes_the_cookies() {
    let browser = Browser::start().await;
    for place in Place::ALL {
        let world = World::start(place, |_| {}).await;
        world.open_anew(&browser).await;
        sign_up(&browser, "alice").await;
        log_in(&browser, "alice").await.expect(200);
        assert_eq!(does(&browser, "me()").await.expect(200).body["username"], "alice");

        let cookies = browser.cookies().await;
        assert_eq!(cookies.keys().collect::<Vec<_>>(), [ACCESS, REFRESH]);
        let host = if place == Place::TwoHosts { "api.kickout.test" } else { "localhost" };
        for (name, path) in [(ACCESS, "/"), (REFRESH, "/v1/auth")] {
            let cookie = &cookies[name];
            assert_eq!((&*cookie.domain, &*cookie.path), (host, path), "{cookie:?}");
            assert!(cookie.secure && cookie.http_only && !cookie.session, "{cookie:?}");
            assert_eq!(cookie.same_site.as_deref(), Some("Lax"), "{cookie:?}");
        }
        assert_eq!(browser.run("return document.cookie", json!([])).await, "");
        let kept = browser.run(KEPT, json!([])).await;
        let kept = kept.as_str().expect("a text");
        assert_eq!(kept.matches("csrf_token").count(), 3, "the page keeps what it was told: {kept}");
        for cookie in cookies.values() {
            assert!(!kept.contains(&cookie.value), "{}: {kept}", cookie.name);
        }

        does(&browser, "logOut()").await.expect(200);
        assert!(browser.cookies().await.is_empty(), "{place:?}");
        does(&browser, "me()").await.is_problem(401, "token-missing");
    }
}

#[tokio::test]
async fn a_browser_that_has_logged_in_over_tls_does_not_speak_to_this_host_in_the_clear_any_more() {
    let browser = Browser::start().await;
    // Without being told, it does, and finds nobody: the first world shows that.
    for hsts in [Span::from_secs(0), Config::default().http.hsts] {
        let world = World::start(Place::TwoHosts, |config| config.http.hsts = hsts).await;
        world.open_anew(&browser).await;
        sign_up(&browser, "alice").await;
        log_in(&browser, "alice").await.expect(200);
        let secure = format!("{}/v1/auth/me", world.api);
        // The driver tells of some pages that are not there, not of all.
        let _ = browser.try_open(&secure.replacen("https:", "http:", 1)).await;
        let there = browser.run("return [location.href, document.body.innerText]", json!([])).await;
        let (address, said) = (text(&there[0]), text(&there[1]));
        if hsts == Span::from_secs(0) {
            assert_eq!(address, "chrome-error://chromewebdata/", "{said}");
        } else {
            assert_eq!(address, secure, "{said}");
            assert!(said.contains(r#""username":"alice""#), "{said}");
        }
    }
}

#[tokio::test]
async fn a_logout_everywhere_in_one_browser_ends_the_next_request_of_another() {
    let (first, second) = tokio::join!(Browser::start(), Browser::start());
    for place in [Place::OneOrigin, Place::TwoHosts] {
        let world = World::start(place, |_| {}).await;
        world.open_anew(&first).await;
        sign_up(&first, "alice").await;
        world.open_anew(&second).await;
        for browser in [&first, &second] {
            log_in(browser, "alice").await.expect(200);
        }
        does(&first, "me()").await.expect(200);
        let receipt = does(&second, "logOutEverywhere()").await.expect(200).body;
        assert_eq!(receipt["complete"], true, "{receipt}");
        does(&first, "me()").await.is_problem(401, "session-ended");
        does(&first, "refresh()").await.is_problem(401, "session-ended");
        assert!(second.cookies().await.is_empty(), "{place:?}");
        log_in(&first, "alice").await.expect(200);
        does(&first, "me()").await.expect(200);
        does(&first, "logOut()").await.expect(200);
    }
}

#[tokio::test]
async fn a_logout_that_could_not_be_done_leaves_the_cookies_where_they_were() {
    let browser = Browser::start().await;
    for place in [Place::OneOrigin, Place::TwoHosts] {
        let world = World::start_cold(place, |config| {
            config.revocation.queue = 1;
            config.http.request_timeout = Span::from_secs(300);
        });
        let world = world.await;
        world.open_anew(&browser).await;
        sign_up(&browser, "alice").await;
        log_in(&browser, "alice").await.expect(200);
        let cookies = browser.cookies().await;
        assert_eq!(cookies.keys().collect::<Vec<_>>(), [ACCESS, REFRESH]);
        // Nobody records yet, and one can wait for that. The other one is turned away.
        does(&browser, "Promise.race([logOut(), logOut()])").await.is_problem(503, "overloaded");
        does(&browser, "logOutEverywhere()").await.is_problem(503, "unavailable");
        assert_eq!(browser.cookies().await, cookies);
    }
}
