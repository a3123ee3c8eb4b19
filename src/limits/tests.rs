use crate::clock::{Clock, ManualClock};

use super::*;

/// The defaults.
const SETTINGS: Settings = Settings {
    logins_per_address: 100,
    wrong_per_address: 200,
    wrong_per_account: 10,
    wrong_before_slow: 100,
    signups_per_address: 60,
    signups_per_account: 20,
    refreshes_per_address: 3000,
    refreshes_per_session: 60,
};

struct Scene {
    time: Arc<ManualClock>,
    limits: Limits,
}

impl Scene {
    fn new(settings: Settings) -> Self {
        let time = ManualClock::at(1_800_000_000_000);
        let clock = Clock::Manual(Arc::clone(&time));
        let ledger = LedgerClock::new(clock.clone(), clock.wall(), clock.boottime());
        let limits = Limits::new(settings, &ServerSecret::new([7; 32]), ledger, None, Metrics::new());
        Self { time, limits }
    }

    /// A wrong password. Whether it was looked at.
    async fn wrong(&self, name: &str, source: Source) -> bool {
        self.limits.login(name, source, None).await.is_ok()
    }

    /// The right password. Whether it was looked at.
    async fn right(&self, name: &str, source: Source) -> bool {
        match self.limits.login(name, source, None).await {
            Ok(deposit) => {
                self.limits.give_back(deposit).await;
                true
            }
            Err(_) => false,
        }
    }

    /// How many wrong passwords were looked at, of so many.
    async fn wrongs(&self, name: &str, source: Source, tries: usize) -> usize {
        let mut admitted = 0;
        for _ in 0..tries {
            admitted += usize::from(self.wrong(name, source).await);
        }
        admitted
    }
}

fn at(address: &str) -> Source {
    Source::Address(address.parse().unwrap())
}

/// The `n`th of many addresses.
fn other(n: u32) -> Source {
    Source::Address(IpAddr::V4((0x0a00_0000 + n).into()))
}

#[tokio::test]
async fn a_limit_is_so_many_at_once_and_so_many_in_its_time_from_then_on() {
    let scene = Scene::new(SETTINGS);
    let home = at("192.0.2.1");
    assert_eq!(scene.wrongs("ada", home, 30).await, 10);
    let refusal = scene.limits.login("ada", home, None).await.unwrap_err();
    assert_eq!(refusal.after, Duration::from_mins(6), "an hour has ten");
    assert_eq!(refusal.to_string(), "too many tries; try again in 360 s");
    scene.time.advance(Duration::from_secs(359));
    assert!(!scene.wrong("ada", home).await);
    scene.time.advance(Duration::from_secs(1));
    assert_eq!(scene.wrongs("ada", home, 5).await, 1, "what is refused costs nothing");
    scene.time.advance(Duration::from_hours(1));
    assert_eq!(scene.wrongs("ada", home, 30).await, 10, "no more than ten are saved up");
}

#[tokio::test]
async fn a_right_password_costs_a_try_of_its_address_and_nothing_of_its_account() {
    let scene = Scene::new(SETTINGS);
    let home = at("192.0.2.1");
    for _ in 0..100 {
        assert!(scene.right("ada", home).await);
    }
    assert!(!scene.right("ada", home).await, "a hundred a minute");
    assert!(!scene.right("bob", home).await, "for whichever account");
    scene.time.advance(MINUTE);
    assert_eq!(scene.wrongs("ada", home, 30).await, 10);
}

#[tokio::test]
async fn an_attacker_elsewhere_does_not_keep_the_owner_out() {
    let scene = Scene::new(SETTINGS);
    assert_eq!(scene.wrongs("ada", at("198.51.100.1"), 1000).await, 10);
    let home = at("192.0.2.1");
    assert!(scene.right("ada", home).await);
    assert_eq!(scene.wrongs("ada", home, 30).await, 10, "with all the tries of another address");
}

#[tokio::test]
async fn an_account_that_is_attacked_from_everywhere_is_slow_and_its_owner_gets_in() {
    let scene = Scene::new(SETTINGS);
    let mut guesses = 0;
    for n in 0..1000 {
        guesses += scene.wrongs("ada", other(n), 20).await;
    }
    // Ten addresses with ten tries each, then three each.
    assert_eq!(guesses, 10 * 10 + 990 * 3);
    let home = at("192.0.2.1");
    assert!(scene.right("ada", home).await, "the first try of an address that has not failed");
    assert_eq!(scene.wrongs("ada", home, 10).await, 3, "its owner has three tries");
    // And the next one when a third of an hour is over, whoever takes what there is for all.
    scene.time.advance(Duration::from_mins(20));
    for n in 0..1000 {
        scene.wrongs("ada", other(n), 20).await;
    }
    assert!(scene.right("ada", home).await, "however long the attack lasts");
    assert_eq!(scene.wrongs("bob", at("192.0.2.2"), 30).await, 10, "other accounts are as ever");
}

#[tokio::test]
async fn a_known_device_is_judged_by_itself() {
    let scene = Scene::new(SETTINGS);
    let home = at("192.0.2.1");
    let device = SessionId::random();
    for name in ["ada", "bob", "eve"] {
        scene.wrongs(name, home, 1000).await;
    }
    for n in 0..1000 {
        scene.wrongs("ada", other(n), 10).await;
    }
    assert!(!scene.right("ada", home).await, "a stranger there");
    let mut admitted = 0;
    for _ in 0..30 {
        admitted += usize::from(scene.limits.login("ada", home, Some(device)).await.is_ok());
    }
    assert_eq!(admitted, 10, "as many as an address has");
    let other_device = scene.limits.login("ada", home, Some(SessionId::random())).await;
    scene.limits.give_back(other_device.expect("another one has its own")).await;
}

#[tokio::test]
async fn passwords_sprayed_over_many_accounts_from_one_address_are_limited() {
    let scene = Scene::new(SETTINGS);
    let mut guesses = 0;
    for n in 0..1000 {
        guesses += usize::from(scene.wrong(&format!("user-{n}"), at("198.51.100.1")).await);
    }
    assert_eq!(guesses, 100, "in the first minute");
    for _ in 0..59 {
        scene.time.advance(MINUTE);
        for n in 0..100 {
            guesses += usize::from(scene.wrong(&format!("user-{n}"), at("198.51.100.1")).await);
        }
    }
    assert!((390..=400).contains(&guesses), "two hundred, and as many as drain in the hour: {guesses}");
}

#[tokio::test]
async fn an_ipv6_network_is_one_address_and_a_wide_one_is_eight() {
    let scene = Scene::new(SETTINGS);
    for n in 0..100 {
        assert!(scene.right("ada", at(&format!("2001:db8:1:1::{n:x}"))).await);
    }
    assert!(!scene.right("ada", at("2001:db8:1:1:ffff::1")).await, "the same /64");
    assert!(scene.right("ada", at("2001:db8:1:2::1")).await, "another one");
    let mut admitted = 101;
    for n in 3..1000 {
        admitted += usize::from(scene.right("ada", at(&format!("2001:db8:1:{n:x}::1"))).await);
    }
    assert_eq!(admitted, 800, "all of the /48 together");
    assert!(scene.right("ada", at("2001:db8:2::1")).await, "another /48");
}

#[tokio::test]
async fn all_that_come_from_nowhere_share_ten_times_as_many() {
    let scene = Scene::new(SETTINGS);
    let mut admitted = 0;
    for _ in 0..2000 {
        admitted += usize::from(scene.right("ada", Source::Unknown).await);
    }
    assert_eq!(admitted, 1000);
    assert!(scene.right("ada", at("192.0.2.1")).await, "an address is no part of them");
}

#[tokio::test]
async fn signups_refreshes_and_current_passwords_have_limits_of_their_own() {
    let scene = Scene::new(SETTINGS);
    let (home, session, limits) = (at("192.0.2.1"), SessionId::random(), &scene.limits);
    let (mut named, mut signups, mut refreshes, mut passwords) = (0, 0, 0, 0);
    for n in 0..100 {
        named += usize::from(limits.signup("ada", other(n)).await.is_ok());
        signups += usize::from(limits.signup(&format!("user-{n}"), home).await.is_ok());
        refreshes += usize::from(limits.refresh(session, home).await.is_ok());
        passwords += usize::from(limits.password(Subject::from(session.uuid())).await.is_ok());
    }
    assert_eq!((named, signups, refreshes, passwords), (20, 60, 60, 10));
    limits.refresh(session, at("192.0.2.2")).await.expect("what others do elsewhere does not count");
    limits.refresh(SessionId::random(), home).await.expect("another session there");
    let mut all = 0;
    for _ in 0..4000 {
        all += usize::from(limits.refresh(SessionId::random(), home).await.is_ok());
    }
    assert_eq!(all, 3000 - 61);
}

#[tokio::test]
async fn nothing_that_others_do_makes_a_limit_forgotten_or_memory_grow() {
    let scene = Scene::new(SETTINGS);
    let home = at("192.0.2.1");
    scene.wrongs("ada", home, 10).await;
    for n in 0..200_000 {
        assert!(scene.wrong(&format!("user-{n}"), other(n)).await, "{n}");
    }
    assert!(!scene.wrong("ada", home).await);
    assert_eq!(scene.wrongs("bob", at("192.0.2.2"), 30).await, 10, "nor is anybody refused for it");
    assert_eq!(scene.limits.0.memory.cells(), 5 * 2 * (1 << 18), "five tables are in use");
}

#[tokio::test]
async fn zero_is_no_limit() {
    let off = Settings {
        logins_per_address: 0,
        wrong_per_address: 0,
        wrong_per_account: 0,
        wrong_before_slow: 0,
        signups_per_address: 0,
        signups_per_account: 0,
        refreshes_per_address: 0,
        refreshes_per_session: 0,
    };
    let scene = Scene::new(off);
    let home = at("192.0.2.1");
    assert_eq!(scene.wrongs("ada", home, 1000).await, 1000);
    for _ in 0..1000 {
        scene.limits.signup("ada", home).await.unwrap();
        scene.limits.refresh(SessionId::random(), home).await.unwrap();
    }
    assert_eq!(scene.limits.0.memory.cells(), 0);
}
