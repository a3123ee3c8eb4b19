//! What a page learns of a refusal.

use super::{Place, World, does, log_in, sign_up};
use crate::support::browser::Browser;

#[tokio::test]
async fn a_page_can_read_why_it_was_refused_and_when_to_come_again() {
    let browser = Browser::start().await;
    for place in Place::ALL {
        let world = World::start(place, |config| config.limits.wrong_per_account = 1).await;
        world.open_anew(&browser).await;
        sign_up(&browser, "alice").await;
        does(&browser, "me()").await.is_problem(401, "token-missing");
        does(&browser, "refresh()").await.is_problem(401, "token-missing");
        let wrong = "logIn('nobody', 'not-the-password-of-nobody')";
        does(&browser, wrong).await.is_problem(401, "credentials-invalid");
        does(&browser, wrong).await.is_problem(429, "too-many-requests");
        log_in(&browser, "alice").await.expect(200);
        let wrong = "call('POST', '/v1/auth/password', { current: 'not-it', new: 'harbour-violet-anvil-thicket' })";
        does(&browser, wrong).await.is_problem(403, "password-wrong");
        does(&browser, "call('GET', '/v1/auth/nothing')").await.is_problem(404, "not-found");
        does(&browser, "call('GET', '/v1/auth/login')").await.is_problem(405, "method-not-allowed");
        does(&browser, "logOut()").await.expect(200);

        let world = World::start_cold(place, |_| {}).await;
        world.open_anew(&browser).await;
        sign_up(&browser, "alice").await;
        log_in(&browser, "alice").await.expect(200);
        does(&browser, "me()").await.is_problem(503, "unavailable");
    }
}
