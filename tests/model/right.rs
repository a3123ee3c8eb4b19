//! The protocol as it ships.

use crate::{
    check::holds,
    config::{Begin, Config, FAST, Request, Who},
    exact,
};

/// Another node may do anything, one step at a time; the writer only takes requests.
pub fn pauses() -> Config {
    let mut config = Config { losses: true, pushes: true, ..Config::of(2) };
    config.nodes[0] = Who { renews: false, looks: false, ..config.nodes[0] };
    config.nodes[1].fine = true;
    config
}

pub fn three() -> Config {
    let mut config = Config::of(3);
    config.nodes[0].renews = false;
    config.nodes[1] = Who { looks: true, rate: FAST, ..config.nodes[1] };
    config
}

pub fn two_requests() -> Config {
    let mut config = Config { pushes: true, ..Config::of(2) };
    config.nodes[0].looks = false;
    config.requests.push(Request { token: 1, node: 1 });
    config
}

pub fn crash() -> Config {
    let mut config = Config { crashes: 1, incarnations: 2, ..Config::of(2) };
    config.nodes[0].looks = false;
    config.requests.push(Request { token: 0, node: 1 });
    config
}

pub fn stop() -> Config {
    let mut config = Config { stops: 1, incarnations: 2, ..Config::of(2) };
    config.nodes[0].renews = false;
    config
}

pub fn failover() -> Config {
    let mut config = Config { failovers: 1, incarnations: 2, ..Config::of(2) };
    config.nodes[0] = Who { renews: false, ..config.nodes[0] };
    config.nodes[1] = Who { looks: true, begin: Begin::Cold, ..config.nodes[1] };
    config
}

/// What was revoked is lost, and then something else is revoked.
pub fn lost() -> Config {
    let mut config = Config { in_turn: true, pushes: true, incarnations: 1, ..failover() };
    config.nodes[1].begin = Begin::Live;
    config.requests.push(Request { token: 1, node: 0 });
    config
}

/// The writer is a node, too, and lets a new server settle.
pub fn settled() -> Config {
    let mut config = Config { failovers: 1, acks: false, is_copied: true, ..Config::of(2) };
    config.nodes[1].begin = Begin::Cold;
    config
}

/// News of a server that was lost arrive whenever they like.
pub fn late_news() -> Config {
    Config { late_news: true, ..lost() }
}

/// And the node may stop between any two steps of its renewals.
pub fn slow_late_news() -> Config {
    let mut config = Config { acks: false, is_copied: true, ..late_news() };
    config.nodes[1].fine = true;
    config
}

/// The writer has loaded what is lost then, and loads again; whose that was hears of it late.
pub fn stale_judge() -> Config {
    let mut config = Config { pushes: false, is_copied: true, ..late_news() };
    config.nodes[0].begin = Begin::Cold;
    config.requests[0].node = 1;
    config
}

/// Somebody asks how far it has come while a server fails over.
pub fn progress() -> Config {
    Config { progress: Some(1), is_copied: true, ..lost() }
}

pub fn slow_checks() -> Config {
    Config { slow_checks: Some(1), ..Config::of(2) }
}

/// The server is started again, with everything that it had.
pub fn restart() -> Config {
    Config { failovers: 0, restarts: 1, incarnations: 1, ..failover() }
}

macro_rules! right {
    ($($name:ident: $model:expr;)*) => { $(
        #[test]
        fn $name() {
            holds($model);
        }
    )* };
}

right! {
    a_node_pauses_between_any_steps: pauses();
    a_node_pauses_by_finer_time: Config { tick_ms: 2_500, ..pauses() };
    three_nodes_and_one_that_expels: three();
    two_requests_at_two_nodes: two_requests();
    a_writer_crashes_and_is_asked_again: crash();
    a_node_leaves: stop();
    a_check_pauses_between_any_steps: slow_checks();
    the_server_is_started_again: restart();
    a_standby_takes_over: failover();
    a_standby_takes_over_without_what_was_revoked: lost();
    a_server_settles: settled();
    news_of_a_lost_history_arrive_late: late_news();
    news_of_a_lost_history_are_judged: stale_judge();
    somebody_asks_how_far_it_has_come: progress();
    redis_loses_what_it_likes: exact::redis();
    known_answers_end_with_a_history: exact::lost();
    a_server_that_was_replaced_answers: exact::replaced();
}

/// The same, with more of everything: up to a minute each.
mod large {
    use super::{
        Config, FAST, Request, crash, exact, failover, holds, lost, pauses, settled, slow_late_news, three,
        two_requests,
    };
    use crate::{check::say, exact::Exact, rules::Misreading};

    macro_rules! large {
        ($($name:ident: $model:expr;)*) => { $(
            #[test]
            #[ignore = "minutes: by hand"]
            fn $name() {
                let states = holds($model);
                say(&format!("{}: {states} states", stringify!($name)));
            }
        )* };
    }

    large! {
        a_node_pauses: whole(Config { losses: true, ..Config::of(2) });
        a_node_pauses_by_the_second: Config { tick_ms: 1_000, ..pauses() };
        three_nodes: Config { pushes: true, incarnations: 2, ..three() };
        three_nodes_and_the_writer: Config { pushes: true, ..Config::of(3) };
        two_requests_and_one_that_expels: looking(two_requests());
        a_writer_crashes: looking(crash());
        a_standby_takes_over: Config { pushes: true, requests: requests(), ..failover() };
        a_standby_takes_over_without_what_was_revoked: Config { incarnations: 2, in_turn: false, ..lost() };
        a_server_settles: Config { is_copied: false, incarnations: 2, ..settled() };
        news_of_a_lost_history_arrive_late: slow_late_news();
        an_exact_look: Exact { losses: 1, ..exact::redis() };
        two_exact_looks: Exact { two_looks: true, ..exact::lost() };
        two_exact_looks_and_a_server_that_was_replaced: Exact { two_looks: true, ..exact::replaced() };
        // Not needed for P1, as the model says: a writer waits for the longest hold until the server has settled, too.
        a_server_that_has_not_settled_expels: Config { wrong: Some(Misreading::ExpelUnsettled), ..settled() };
    }

    fn whole(mut config: Config) -> Config {
        config.nodes[1].fine = true;
        config
    }

    fn looking(mut config: Config) -> Config {
        config.nodes[0].looks = true;
        config.nodes[0].rate = FAST;
        config
    }

    fn requests() -> Vec<Request> {
        vec![Request { token: 0, node: 0 }, Request { token: 1, node: 1 }]
    }
}
