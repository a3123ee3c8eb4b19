//! Several tabs of one browser, which share their cookies and know nothing of each other's requests.

use std::{sync::Arc, time::Duration};

use http::Method;
use kickout::{
    clock::{Clock, ManualClock},
    config::Span,
};
use serde_json::{Value, json};

use super::{Place, Seen, World, does, log_in, sign_up};
use crate::support::browser::{Browser, Tab};

/// How many refreshes of each outcome there were: the first with a token, one more within the grace, one too late.
async fn refreshes(world: &World) -> [u32; 3] {
    let page = world.manage(Method::GET, "/metrics").await.expect(200);
    let text = String::from_utf8(page.body).expect("metrics are text");
    ["rotated", "race_absorbed", "reuse_detected"].map(|outcome| {
        let line = format!("kickout_refreshes_total{{outcome=\"{outcome}\"}} ");
        let count = text.lines().find_map(|text| text.strip_prefix(&line));
        count.unwrap_or_else(|| panic!("no {line}: {text}")).parse().expect("a number")
    })
}

/// Two tabs with the page, whose user has logged in.
async fn two_tabs(world: &World, browser: &Browser) -> [Tab; 2] {
    world.open_anew(browser).await;
    sign_up(browser, "alice").await;
    log_in(browser, "alice").await.expect(200);
    let first = browser.tab().await;
    let second = browser.new_tab().await;
    world.open(browser).await;
    [first, second]
}

/// Lets both tabs do something at once, and gives what each returns.
async fn both_do(browser: &Browser, tabs: &[Tab; 2], call: &str) -> [Value; 2] {
    for tab in tabs {
        browser.switch(tab).await;
        browser.run(&format!("window.pending = {call}"), json!([])).await;
    }
    let mut returned = [Value::Null, Value::Null];
    for (tab, value) in tabs.iter().zip(&mut returned) {
        browser.switch(tab).await;
        *value = browser.run("return window.pending", json!([])).await;
    }
    returned
}

#[track_caller]
fn seen(value: Value) -> Seen {
    serde_json::from_value(value).expect("what the page tells")
}

#[tokio::test]
async fn the_tabs_of_a_browser_share_a_login_and_its_end() {
    let browser = Browser::start().await;
    for place in [Place::OneOrigin, Place::TwoHosts] {
        let world = World::start(place, |_| {}).await;
        let [first, second] = two_tabs(&world, &browser).await;
        assert_eq!(does(&browser, "me()").await.expect(200).body["username"], "alice");
        browser.switch(&first).await;
        does(&browser, "logOut()").await.expect(200);
        browser.switch(&second).await;
        does(&browser, "me()").await.is_problem(401, "token-missing");
        does(&browser, "refresh()").await.is_problem(401, "token-missing");
    }
}

#[tokio::test]
async fn two_tabs_that_find_their_token_expired_at_once_both_go_on_each_time() {
    const ROUNDS: u32 = 25;
    let browser = Browser::start().await;
    for place in [Place::OneOrigin, Place::TwoHosts] {
        // From now on, for that is when the certificate is good.
        let clock = ManualClock::at(Clock::System.wall().as_millis());
        let world = World::start_at(Clock::Manual(Arc::clone(&clock)), place).await;
        let tabs = two_tabs(&world, &browser).await;
        // Where nothing is in between, nobody can see to it that they meet.
        let is_paired = place == Place::OneOrigin;
        if is_paired {
            world.stage.page.pairs_refreshes();
        }
        for _ in 0..ROUNDS {
            clock.advance(Duration::from_mins(16));
            for answer in both_do(&browser, &tabs, "meOrRefresh()").await {
                assert_eq!(seen(answer).expect(200).body["username"], "alice");
            }
        }
        let [rotated, absorbed, reused] = refreshes(&world).await;
        if is_paired {
            assert_eq!((rotated, absorbed), (ROUNDS, ROUNDS), "each pair had one token and got one successor");
        }
        assert!(rotated >= ROUNDS && rotated + absorbed <= 2 * ROUNDS, "{rotated} {absorbed}");
        assert_eq!(reused, 0);
        assert_eq!(browser.cookies().await.len(), 2);
    }
}

#[tokio::test]
async fn two_tabs_that_refresh_all_the_time_both_stay_logged_in() {
    const ROUNDS: u32 = 25;
    let browser = Browser::start().await;
    for place in [Place::TwoPorts, Place::TwoHosts] {
        // However long a busy machine lets one of the tabs wait.
        let world = World::start(place, |config| config.sessions.refresh_grace = Span::from_secs(300)).await;
        let tabs = two_tabs(&world, &browser).await;
        for answers in both_do(&browser, &tabs, &format!("refreshTogether({ROUNDS})")).await {
            let answers = answers.as_array().expect("answers").clone();
            assert_eq!(answers.len(), 2 * ROUNDS as usize);
            for answer in answers {
                assert_eq!(seen(answer).expect(200).body["username"], "alice");
            }
        }
        let [rotated, absorbed, reused] = refreshes(&world).await;
        assert_eq!((rotated + absorbed, reused), (2 * ROUNDS, 0));
        assert_ne!(absorbed, 0, "they have met");
    }
}

#[tokio::test]
async fn a_refresh_whose_answer_was_lost_is_done_again() {
    let browser = Browser::start().await;
    let world = World::start(Place::OneOrigin, |_| {}).await;
    world.open_anew(&browser).await;
    sign_up(&browser, "alice").await;
    log_in(&browser, "alice").await.expect(200);
    let cookies = browser.cookies().await;
    world.stage.page.loses_an_answer();
    does(&browser, "refresh()").await.expect(502);
    assert_eq!(browser.cookies().await, cookies);
    does(&browser, "refresh()").await.expect(200);
    does(&browser, "me()").await.expect(200);
    does(&browser, "refresh()").await.expect(200);
    assert_eq!(refreshes(&world).await, [2, 1, 0]);
}
