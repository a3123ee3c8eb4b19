//! What every ledger does, whichever database it is on: the ledger, the replica, the checker and the recorder together,
//! over a real database.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use kickout::{
    clock::Timestamp,
    database::{DatabaseError, Value, sql},
    ids::{Generation, KeyId, LedgerId, Seq, SessionId, Subject, TokenId},
    revocation::{
        Act, Cause, Ignorance, Outcome, Presented, RevokeError, Revoker, Target, Tier, Verdict,
        feed::{Batch, Cursor, Except, Floor, Link, Row, Tag},
        filter::Settings,
        known::Exact,
        ledger::Has,
        sync::{LoadError, NodeState, Replica},
    },
    telemetry::metrics::Metrics,
};
use tokio_util::sync::CancellationToken;

use super::support::ledger::{Node, Store, TTL, done, on_both};

const HOUR_MS: i64 = 3_600_000;

on_both!(
    each_scope_ends_exactly_what_it_names_also_after_a_reload,
    a_kept_session_lives_on_and_an_answer_known_before_does_not_outlive_the_next_revocation,
    a_token_of_older_roles_stays_dead_however_often_its_session_is_kept,
    nothing_left_to_do_is_said_and_names_the_row_that_did_it,
    an_entry_outlives_every_token_it_denies_and_then_goes,
    a_ledger_is_believed_by_who_follows_its_history_and_by_nobody_of_another,
    a_larger_filter_is_not_read_from_a_ledger_that_lacks_what_was_applied,
    what_was_applied_of_another_history_is_not_what_the_ledger_stands_at,
    what_has_expired_goes_in_small_steps_and_a_larger_transaction_as_a_whole,
    a_signing_key_is_dead_for_good_and_holds_up_nothing_that_is_pruned,
    a_wall_clock_set_back_revives_nothing_and_one_set_forward_is_followed,
    a_leap_of_a_nodes_own_clock_prunes_nothing,
    a_lowered_lifetime_binds_entries_only_after_the_old_tokens_are_gone,
    a_history_with_a_hole_or_of_an_unknown_kind_is_refused_and_answers_nothing,
    a_large_history_loads_in_pages_and_grows_the_filter,
    a_growth_loses_nothing_that_is_recorded_between_any_two_of_its_steps,
    growths_one_after_the_other_lose_nothing_that_is_recorded_meanwhile,
    what_somebody_else_writes_into_the_ledger_does_not_stay_unseen,
    what_was_there_already_is_in_force_before_the_receipt,
    an_entry_covers_any_leeway_and_sessions_below_the_floor_are_swept,
    another_life_of_the_ledger_ends_everything_also_generations_that_a_backup_forgot,
    a_lost_floor_over_everything_comes_back_above_all_that_it_had_ended,
    a_full_queue_is_an_answer,
    a_ledger_that_cannot_be_written_says_so_and_records_nothing,
    what_another_act_of_the_same_batch_has_done_waits_for_that_batch,
    a_database_that_a_newer_version_has_used_is_refused,
    deployments_have_names_of_their_own_also_where_the_ledger_is_older_than_names,
);

async fn each_scope_ends_exactly_what_it_names_also_after_a_reload(store: Store) {
    let mut node = Node::start(store).await;
    let (alice, bob) = (node.user().await, node.user().await);
    let one = node.session(alice, 0).await;
    let two = node.session(alice, 0).await;
    let other = node.session(bob, 0).await;
    let sibling = Presented { token: TokenId::random(), ..one };

    node.done(Act::Token(one.token)).await;
    for round in 0..2 {
        assert_eq!(node.verdict(&one).await, Verdict::Revoked(Cause::Token), "round {round}");
        assert_eq!(node.verdict(&sibling).await, Verdict::Active);
        node = node.restart(TTL).await;
    }
    node.done(Act::Session { session: one.session, of: Some(alice) }).await;
    for _ in 0..2 {
        assert_eq!(node.verdict(&sibling).await, Verdict::Revoked(Cause::Session));
        assert_eq!(node.verdict(&two).await, Verdict::Active);
        node = node.restart(TTL).await;
    }
    node.done(Act::Subject { subject: alice, keep: None }).await;
    let after = node.session(alice, 1).await;
    for _ in 0..2 {
        assert_eq!(node.verdict(&two).await, Verdict::Revoked(Cause::Subject));
        assert_eq!(node.verdict(&after).await, Verdict::Active);
        assert_eq!(node.verdict(&other).await, Verdict::Active);
        node = node.restart(TTL).await;
    }
    node.done(Act::Everything).await;
    let reborn = node.session(bob, 2).await;
    for _ in 0..2 {
        assert_eq!(node.verdict(&other).await, Verdict::Revoked(Cause::Everything));
        assert_eq!(node.verdict(&after).await, Verdict::Revoked(Cause::Everything));
        assert_eq!(node.verdict(&reborn).await, Verdict::Active);
        node = node.restart(TTL).await;
    }
    let stranger = Presented { epoch: LedgerId::random(), ..reborn };
    assert_eq!(node.verdict(&stranger).await, Verdict::Revoked(Cause::Epoch));
    // The ledger says the same when it is asked, and nothing when it knows less than whoever asks.
    for (presented, cause) in [
        (one, Some(Cause::Everything)),
        (other, Some(Cause::Everything)),
        (Presented { token: one.token, ..reborn }, Some(Cause::Token)),
        (Presented { session: one.session, ..reborn }, Some(Cause::Session)),
        (Presented { subject: alice, generation: Generation(0), ..reborn }, Some(Cause::Everything)),
        (stranger, Some(Cause::Epoch)),
        (reborn, None),
    ] {
        assert_eq!(node.ledger.cause(&presented, node.replica.cursor()).await.unwrap(), cause, "{presented:?}");
    }
    let ahead = Cursor { seq: Seq(99), ..node.replica.cursor() };
    let behind = node.ledger.cause(&reborn, ahead).await.unwrap_err();
    assert!(behind.is_temporary(), "{behind}");
}

async fn a_kept_session_lives_on_and_an_answer_known_before_does_not_outlive_the_next_revocation(store: Store) {
    let node = Node::start(store).await;
    let alice = node.user().await;
    let mine = node.session(alice, 0).await;
    let other = node.session(alice, 0).await;

    let done = node.done(Act::Subject { subject: alice, keep: Some(mine.session) }).await;
    assert_eq!(done.kept.map(|kept| kept.generation), Some(Generation(1)));
    for tier in [Tier::Ledger, Tier::Known] {
        let checked = node.checker.check(&mine).await;
        assert_eq!((checked.verdict, checked.tier), (Verdict::Active, tier), "looked up once, then known");
    }
    assert_eq!(node.verdict(&other).await, Verdict::Revoked(Cause::Subject));

    node.done(Act::Subject { subject: alice, keep: None }).await;
    assert_eq!(node.verdict(&mine).await, Verdict::Revoked(Cause::Subject));
    let renewed = Presented { generation: Generation(1), ..mine };
    assert_eq!(node.verdict(&renewed).await, Verdict::Revoked(Cause::Subject));

    // What has ended by a floor is not spared by the next one.
    let done = node.done(Act::Subject { subject: alice, keep: Some(mine.session) }).await;
    assert_eq!(done.kept, None);
    assert_eq!(node.verdict(&renewed).await, Verdict::Revoked(Cause::Subject));

    // Nobody is spared by a session of somebody else, and that session gets nothing from it.
    let strangers = node.session(node.user().await, 0).await;
    let done = node.done(Act::Subject { subject: alice, keep: Some(strangers.session) }).await;
    assert_eq!(done.kept, None);
    let lifted = sql("SELECT generation FROM sessions WHERE id = $1").bind(strangers.session.uuid());
    let lifted = lifted.fetch_one(&mut node.database.read().await.unwrap()).await.unwrap();
    assert_eq!(lifted.int("generation").unwrap(), 0);
}

/// Who is not an administrator any more can log out everywhere else as often as they like: it brings nothing back.
async fn a_token_of_older_roles_stays_dead_however_often_its_session_is_kept(store: Store) {
    let mut node = Node::start(store).await;
    let alice = node.user().await;
    let before = node.session(alice, 0).await;
    node.done(Act::Roles { subject: alice, roles: vec!["reader".to_owned()] }).await;
    for _ in 0..40 {
        node.done(Act::Subject { subject: alice, keep: Some(before.session) }).await;
    }
    let after = Presented { generation: Generation(41), token: TokenId::random(), ..before };
    for _ in 0..2 {
        for (presented, expected) in [(before, Some(Cause::Roles)), (after, None), (before, Some(Cause::Roles))] {
            let verdict = expected.map_or(Verdict::Active, Verdict::Revoked);
            assert_eq!(node.verdict(&presented).await, verdict);
            assert_eq!(node.ledger.cause(&presented, node.replica.cursor()).await.unwrap(), expected);
        }
        node = node.restart(TTL).await;
    }
    // That their session has ended is not hidden by many changes of roles either.
    node.done(Act::Subject { subject: alice, keep: None }).await;
    for n in 0..20 {
        node.done(Act::Roles { subject: alice, roles: vec![format!("role-{n}")] }).await;
    }
    assert_eq!(node.verdict(&after).await, Verdict::Revoked(Cause::Subject));
}

async fn nothing_left_to_do_is_said_and_names_the_row_that_did_it(store: Store) {
    let node = Node::start(store).await;
    let alice = node.user().await;
    let session = node.session(alice, 0).await;
    let act = Act::Session { session: session.session, of: Some(alice) };

    // Twins in one transaction, then again in a later one.
    let outcomes = node.record(&[act.clone(), act.clone(), Act::Token(session.token), Act::Token(session.token)]).await;
    let said: Vec<_> = outcomes.into_iter().map(done).map(|done| (done.seq, done.already)).collect();
    assert_eq!(said, [(Seq(1), false), (Seq(1), true), (Seq(1), false), (Seq(1), true)]);
    node.done(Act::Ban(alice)).await;
    assert_eq!(node.replica.applied(), Seq(2));
    let again = node.done(act).await;
    assert_eq!((again.seq, again.already), (Seq(1), true));
    let again = node.done(Act::Ban(alice)).await;
    assert_eq!((again.seq, again.already), (Seq(2), true));
    assert_eq!(node.replica.applied(), Seq(2), "an act that finds nothing to do takes no number");

    let bob = node.user().await;
    for absent in [
        Act::Session { session: SessionId::random(), of: None },
        Act::Session { session: session.session, of: Some(bob) },
        Act::Subject { subject: Subject::random(), keep: None },
        Act::Ban(Subject::random()),
    ] {
        assert_eq!(node.record(std::slice::from_ref(&absent)).await, [Outcome::Absent], "{absent:?}");
    }
    let logged_out = node.done(Act::Subject { subject: bob, keep: None }).await;
    let banned = node.done(Act::Ban(bob)).await;
    assert_eq!((logged_out.seq, banned.seq), (Seq(3), Seq(4)));
    let again = node.done(Act::Ban(bob)).await;
    assert_eq!((again.seq, again.already), (Seq(4), true), "the last row of those that name it");
    let stale = Act::Password { subject: bob, version: 7, password: "x".into(), keep: None };
    assert_eq!(node.record(&[stale]).await, [Outcome::Changed]);
}

async fn an_entry_outlives_every_token_it_denies_and_then_goes(store: Store) {
    let node = Node::start(store).await;
    let alice = node.user().await;
    let one = node.session(alice, 0).await;
    node.done(Act::Token(one.token)).await;
    // A token issued in the last moment before lives 15 minutes more.
    node.advance(TTL).await;
    let node = node.restart(TTL).await;
    assert_eq!(node.verdict(&one).await, Verdict::Revoked(Cause::Token));
    assert_eq!(node.ledger.prune(1000).await.unwrap(), 0);
    // It has expired, and stays for a day.
    node.advance(Duration::from_hours(23)).await;
    assert_eq!(node.ledger.prune(1000).await.unwrap(), 0);
    node.advance(Duration::from_hours(2)).await;
    assert_eq!(node.ledger.prune(1000).await.unwrap(), 1);
    assert_eq!(node.ledger.prune_backlog().await.unwrap(), 0);
    let node = node.restart(TTL).await;
    assert_eq!(node.replica.applied(), Seq(1), "a pruned history still has its number");
    node.done(Act::Token(one.token)).await;
    assert_eq!(node.replica.applied(), Seq(2));
}

async fn a_ledger_is_believed_by_who_follows_its_history_and_by_nobody_of_another(store: Store) {
    let node = Node::start(store).await;
    let mut revoked = node.session(node.user().await, 0).await;
    let mut history = vec![node.replica.cursor()];
    for _ in 0..3 {
        node.done(Act::Token(revoked.token)).await;
        history.push(node.replica.cursor());
        revoked.token = TokenId::random();
    }
    let target = Target::Token(revoked.token);
    // Wherever a node stands in this history, the answer is as of now.
    for at in &history {
        assert_eq!(node.ledger.exact(target, Has::History(*at)).await.unwrap(), Exact::Absent, "{at:?}");
        assert_eq!(node.ledger.cause(&revoked, *at).await.unwrap(), None, "{at:?}");
    }
    // The same number of another history, and one that is ahead.
    let last = history[3];
    let others = [
        Cursor { tag: history[1].tag, ..history[2] },
        Cursor { tag: Tag(last.tag.0 ^ 1), ..last },
        Cursor { seq: Seq(last.seq.0 + 1), ..last },
    ];
    for at in others {
        for error in [
            node.ledger.exact(target, Has::History(at)).await.unwrap_err(),
            node.ledger.cause(&revoked, at).await.unwrap_err(),
        ] {
            assert!(error.is_temporary() && error.to_string().contains("old primary"), "{at:?}: {error}");
        }
    }
}

/// As a server that another one has replaced, to which a connection still leads.
async fn a_larger_filter_is_not_read_from_a_ledger_that_lacks_what_was_applied(store: Store) {
    let node = Node::start(store).await;
    let mut dead = Vec::new();
    for _ in 0..3 {
        let token = node.session(node.user().await, 0).await;
        node.done(Act::Token(token.token)).await;
        dead.push(token);
    }
    node.replica.grow(&node.ledger).await.unwrap();
    let back = "UPDATE head SET seq = 2, tag = (SELECT tag FROM revocations WHERE seq = 2)";
    let lost = "DELETE FROM revocations WHERE seq = 3";
    for statements in [[back, lost], ["DELETE FROM revocations", lost], ["UPDATE head SET seq = 3", lost]] {
        for statement in statements {
            sql(statement).execute(&mut node.database.write().await.unwrap()).await.unwrap();
        }
        let error = node.replica.grow(&node.ledger).await.unwrap_err();
        assert!(error.to_string().contains("old primary"), "{statements:?}: {error}");
        for token in &dead {
            assert_ne!(node.verdict(token).await, Verdict::Active, "{statements:?}");
        }
    }
}

/// A lease is for what the ledger has. What a push has brought of a history that was lost has numbers, too.
async fn what_was_applied_of_another_history_is_not_what_the_ledger_stands_at(store: Store) {
    let node = Node::start(store).await;
    let settings = Settings { capacity: 1000, false_positives: 0.001 };
    let replica = Replica::new(node.ledger.id(), settings, node.ledger.clock().now()).leased();
    node.done(Act::Token(TokenId::random())).await;
    replica.load(&node.ledger).await.unwrap();
    let at = replica.cursor();
    let push = |prev: Cursor, tag| Batch {
        ledger: node.ledger.id(),
        prev: prev.tag,
        cursor: Cursor { seq: Seq(prev.seq.0 + 1), tag: Tag(tag) },
        rows: Vec::new(),
    };
    let lost = push(at, 20);
    let next = push(lost.cursor, 30);
    for batch in [&lost, &next] {
        assert_eq!(replica.apply(batch), Link::Next);
    }
    let instead = push(at, 21).cursor;
    for (head, expected) in [(at, true), (lost.cursor, true), (next.cursor, true), (instead, false)] {
        assert_eq!(replica.has_reached(head), expected, "{head:?}");
    }
}

async fn what_has_expired_goes_in_small_steps_and_a_larger_transaction_as_a_whole(store: Store) {
    let node = Node::start(store).await;
    let tokens = |count: usize| -> Vec<Act> { (0..count).map(|_| Act::Token(TokenId::random())).collect() };
    for count in [2, 5, 3, 1, 1] {
        node.record(&tokens(count)).await;
    }
    node.advance(Duration::from_hours(25)).await;
    node.record(&tokens(4)).await;
    let mut steps = Vec::new();
    while steps.last() != Some(&0) {
        steps.push(node.ledger.prune(3).await.unwrap());
    }
    assert_eq!(steps, [2, 5, 3, 2, 0]);
    assert_eq!(node.ledger.prune_backlog().await.unwrap(), 0);
    let node = node.restart(TTL).await;
    assert_eq!(node.replica.applied(), Seq(6), "what lives is all there");
}

async fn a_signing_key_is_dead_for_good_and_holds_up_nothing_that_is_pruned(store: Store) {
    let mut node = Node::start(store).await;
    let alice = node.user().await;
    let good = node.session(alice, 0).await;
    let signed = Presented { key: KeyId::of([9; 32]), ..node.session(alice, 0).await };
    node.done(Act::Token(TokenId::random())).await;
    let both = [Act::Key(signed.key), Act::Session { session: good.session, of: None }, Act::Key(signed.key)];
    let said: Vec<_> = node.record(&both).await.into_iter().map(done).collect();
    assert_eq!((said[0].target, said[0].already, said[2].already), (Target::Key(signed.key), false, true));
    node.done(Act::Token(TokenId::random())).await;
    let again = node.done(Act::Key(signed.key)).await;
    assert_eq!((again.seq, again.already), (Seq(2), true));
    let other = Presented { key: KeyId::of([8; 32]), ..signed };
    // Also one that the filter is not sure of, and one that must log in.
    let spared = Presented { generation: Generation(1), ..signed };
    let ended = Presented { key: signed.key, ..node.session(alice, 0).await };
    node.done(Act::Subject { subject: alice, keep: Some(signed.session) }).await;
    for round in 0..4 {
        assert_eq!(node.verdict(&spared).await, Verdict::Revoked(Cause::Key), "round {round}");
        assert_eq!(node.ledger.cause(&spared, node.replica.cursor()).await.unwrap(), Some(Cause::Key));
        let lives = Presented { generation: Generation(1), ..other };
        assert_eq!(node.verdict(&lives).await, Verdict::Active, "another key of the same session");
        assert_eq!(node.ledger.cause(&lives, node.replica.cursor()).await.unwrap(), None);
        assert_eq!(node.ledger.revoked_keys().await.unwrap(), [signed.key]);
        let fresh = Presented { key: signed.key, ..node.session(node.user().await, 1).await };
        assert_eq!(node.verdict(&fresh).await, Verdict::Revoked(Cause::Key), "surely not in the filter, and dead");
        if round == 1 {
            assert_eq!(node.verdict(&ended).await, Verdict::Revoked(Cause::Subject), "log in, not refresh");
            assert_eq!(node.ledger.cause(&ended, node.replica.cursor()).await.unwrap(), Some(Cause::Subject));
        }
        if round == 2 {
            // All rows but one are pruned, from before it and from after it.
            node.advance(Duration::from_hours(24 * 365 * 100)).await;
            node.ledger.keep_time().await.unwrap();
            // A leap of this machine's clock counts when it has lasted.
            node.advance(Duration::from_mins(10)).await;
            assert_eq!(node.ledger.prune(1000).await.unwrap(), 4);
            assert_eq!(node.ledger.prune_backlog().await.unwrap(), 0);
        }
        node = node.restart(TTL).await;
        assert_eq!(node.replica.applied(), Seq(4));
    }
    node.done(Act::Token(other.token)).await;
    assert_eq!(node.verdict(&other).await, Verdict::Revoked(Cause::Token), "the history goes on");
    // What a server has lost is given back like anything else.
    let lost = KeyId::of([7; 32]);
    node.done(Act::Again(Row { target: Target::Key(lost), floor: None, until: Timestamp::from_millis(0) })).await;
    assert_eq!(node.ledger.revoked_keys().await.unwrap(), [signed.key, lost]);
}

async fn a_wall_clock_set_back_revives_nothing_and_one_set_forward_is_followed(store: Store) {
    let node = Node::start(store).await;
    let before = node.ledger.clock().now();
    node.done(Act::Token(TokenId::random())).await;
    node.step_wall(-HOUR_MS).await;
    node.ledger.keep_time().await.unwrap();
    assert_eq!(node.ledger.clock().now(), before);
    let node = node.restart(TTL).await;
    assert_eq!(node.ledger.clock().now(), before, "also over a restart");
    node.advance(Duration::from_secs(1)).await;
    assert_eq!(node.ledger.clock().now(), before + Duration::from_secs(1), "it goes on");
    node.step_wall(3 * HOUR_MS).await;
    node.ledger.keep_time().await.unwrap();
    // A leap of this machine's clock counts when it has lasted; a server's is the server's.
    node.advance(Duration::from_mins(10)).await;
    node.ledger.keep_time().await.unwrap();
    assert_eq!(node.ledger.clock().now(), before + Duration::from_secs(7801));
}

async fn a_leap_of_a_nodes_own_clock_prunes_nothing(store: Store) {
    let node = Node::start(store).await;
    node.done(Act::Token(TokenId::random())).await;
    node.step_own_wall(48 * HOUR_MS);
    assert_eq!(node.ledger.prune(1000).await.unwrap(), 0);
}

async fn a_lowered_lifetime_binds_entries_only_after_the_old_tokens_are_gone(store: Store) {
    let node = Node::start(store).await;
    let now = node.ledger.clock().now();
    let node = node.restart(Duration::from_mins(1)).await;
    assert_eq!(node.ledger.lifetimes().ceiling(now), TTL);
    let node = node.restart(Duration::from_mins(1)).await;
    assert_eq!(node.ledger.lifetimes().ceiling(now + TTL), TTL, "also after one more restart");
    let recorded = node.ledger.record(&[Act::Token(TokenId::random())]).await.unwrap();
    let until = recorded.batch.unwrap().rows[0].until;
    assert!(until >= now + TTL + kickout::clock::MAX_LEEWAY, "a token from before lives until then: {until}");
    assert_eq!(node.ledger.lifetimes().ceiling(now + TTL + Duration::from_millis(1)), Duration::from_mins(1));
    node.advance(TTL + Duration::from_secs(1)).await;
    let node = node.restart(Duration::from_mins(30)).await;
    assert_eq!(node.ledger.lifetimes().ceiling(node.ledger.clock().now()), Duration::from_mins(30));
}

async fn a_history_with_a_hole_or_of_an_unknown_kind_is_refused_and_answers_nothing(store: Store) {
    let short = Value::from([0_u8].as_slice());
    for (damage, values, says) in [
        ("DELETE FROM revocations WHERE seq = 2", vec![], "broken"),
        ("UPDATE revocations SET prev = prev + 1 WHERE seq = 2", vec![], "broken"),
        ("DELETE FROM revocations WHERE seq = 3", vec![], "broken"),
        ("UPDATE head SET tag = tag + 1", vec![], "broken"),
        ("UPDATE revocations SET kind = 9 WHERE seq = 2", vec![], "does not know"),
        // Nothing is missing around it.
        (
            "INSERT INTO revocations SELECT seq, n + 1, prev, tag, op, 9, id, floor, except_sid, until FROM revocations
             WHERE seq = 2",
            vec![],
            "does not know",
        ),
        ("UPDATE revocations SET id = $1 WHERE seq = 2", vec![short.clone()], "16 bytes"),
        ("UPDATE revocations SET floor = 3 WHERE seq = 2", vec![], "floor"),
    ] {
        let node = Node::start(store.another().await).await;
        let alice = node.user().await;
        let one = node.session(alice, 0).await;
        for _ in 0..3 {
            node.done(Act::Token(TokenId::random())).await;
        }
        assert_eq!(node.verdict(&one).await, Verdict::Active);
        sql(damage).bind_all(values).execute(&mut node.database.write().await.unwrap()).await.unwrap();
        let error: LoadError = node.replica.load(&node.ledger).await.unwrap_err();
        assert!(error.to_string().contains(says), "{damage}: {error}");
        assert_eq!(node.replica.state(), NodeState::Stale);
        assert_eq!(node.verdict(&one).await, Verdict::Unknown(Ignorance::Loading), "{damage}");
    }
}

async fn a_large_history_loads_in_pages_and_grows_the_filter(store: Store) {
    let node = Node::start(store).await;
    let mut revoked = Vec::new();
    for _ in 0..50 {
        let tokens: Vec<_> = (0..256).map(|_| TokenId::random()).collect();
        node.record(&tokens.iter().map(|&token| Act::Token(token)).collect::<Vec<_>>()).await;
        revoked.extend(tokens);
    }
    tokio::time::timeout(Duration::from_secs(5), node.replica.wants_growth())
        .await
        .expect("12 800 are more than 1 000");
    node.replica.grow(&node.ledger).await.unwrap();
    assert_eq!(node.replica.filter().capacity, 12_800 * 3 / 2);
    let node = node.restart(TTL).await;
    assert_eq!(node.replica.filter().entries, 12_800);
    let alice = node.user().await;
    let one = node.session(alice, 0).await;
    assert_eq!(node.verdict(&one).await, Verdict::Active);
    for token in revoked {
        assert_eq!(node.verdict(&Presented { token, ..one }).await, Verdict::Revoked(Cause::Token));
    }
}

/// Polls a future until it has had to wait so many times. Returns whether it is done.
async fn is_done_after<T>(waits: usize, mut future: Pin<&mut impl Future<Output = T>>) -> bool {
    let mut left = waits;
    poll_fn(|context| {
        if future.as_mut().poll(context).is_ready() {
            return Poll::Ready(true);
        }
        left -= 1;
        if left == 0 { Poll::Ready(false) } else { Poll::Pending }
    })
    .await
}

async fn a_growth_loses_nothing_that_is_recorded_between_any_two_of_its_steps(store: Store) {
    let node = Node::start(store).await;
    let one = node.session(node.user().await, 0).await;
    let (mut waits, mut is_done) = (0, false);
    while !is_done {
        waits += 1;
        // Each growth has as much to read: one that reads more waits longer.
        sql("DELETE FROM revocations").execute(&mut node.database.write().await.unwrap()).await.unwrap();
        node.done(Act::Token(TokenId::random())).await;
        let mut growth = pin!(node.replica.grow(&node.ledger));
        is_done = is_done_after(waits, growth.as_mut()).await;
        let token = TokenId::random();
        node.record(&[Act::Token(token), Act::Everything]).await;
        // Only this one floor denies the one, and only its row the other.
        let old = Presented { generation: Generation(node.replica.floor().0 - 1), ..one };
        let named = Presented { token, generation: Generation(i64::MAX), ..one };
        let mut is_over = is_done;
        loop {
            let at = format!("recorded after {waits} waits, checked before it is over: {}", !is_over);
            assert_eq!(node.verdict(&old).await, Verdict::Revoked(Cause::Everything), "{at}");
            assert_eq!(node.verdict(&named).await, Verdict::Revoked(Cause::Token), "{at}");
            if is_over {
                break;
            }
            // What it waits for has to get its turn.
            tokio::task::yield_now().await;
            is_over = is_done_after(1, growth.as_mut()).await;
        }
    }
    assert!(waits > 1, "it waits for the database");
}

/// A row that one growth has lost would be back with the next one: so each is looked after at once.
async fn growths_one_after_the_other_lose_nothing_that_is_recorded_meanwhile(store: Store) {
    let node = Node::start(store).await;
    let one = node.session(node.user().await, 0).await;
    let (tokens, is_over) = (RefCell::new(Vec::new()), Cell::new(false));
    let record = async {
        for _ in 0..500 {
            let token = TokenId::random();
            node.done(Act::Token(token)).await;
            tokens.borrow_mut().push(token);
        }
        is_over.set(true);
    };
    let grow = async {
        while !is_over.get() {
            let before = tokens.borrow().len();
            node.replica.grow(&node.ledger).await.unwrap();
            let meanwhile = tokens.borrow()[before..].to_vec();
            for token in meanwhile {
                assert_eq!(node.verdict(&Presented { token, ..one }).await, Verdict::Revoked(Cause::Token));
            }
        }
    };
    tokio::join!(record, grow);
}

async fn what_somebody_else_writes_into_the_ledger_does_not_stay_unseen(store: Store) {
    let node = Node::start(store).await;
    let alice = node.user().await;
    let (first, second) = (node.session(alice, 0).await, node.session(alice, 0).await);
    let (revoker, recorder) = Revoker::new(node.ledger.clone(), Arc::clone(&node.replica), None, 16, Metrics::new());
    let over = CancellationToken::new();
    // Behind the node's back: recorded, and never applied here.
    node.ledger.record(&[Act::Session { session: first.session, of: None }]).await.unwrap();
    let stop = over.clone();
    let ((), receipt) = tokio::join!(recorder.run(stop.cancelled()), async {
        let receipt = revoker.revoke(Act::Token(second.token)).await.unwrap().receipt;
        over.cancel();
        receipt
    });
    assert_eq!(receipt.seq, Seq(2));
    assert_eq!(node.verdict(&first).await, Verdict::Revoked(Cause::Session));
    assert_eq!(node.verdict(&second).await, Verdict::Revoked(Cause::Token));
    assert!(matches!(revoker.revoke(Act::Everything).await, Err(RevokeError::Stopping)));
}

async fn what_was_there_already_is_in_force_before_the_receipt(store: Store) {
    let node = Node::start(store).await;
    let alice = node.user().await;
    let one = node.session(alice, 0).await;
    let (revoker, recorder) = Revoker::new(node.ledger.clone(), Arc::clone(&node.replica), None, 16, Metrics::new());
    let over = CancellationToken::new();
    let act = Act::Session { session: one.session, of: None };
    // Recorded, and not applied here: as after a commit whose answer was lost.
    node.ledger.record(std::slice::from_ref(&act)).await.unwrap();
    let stop = over.clone();
    let ((), receipt) = tokio::join!(recorder.run(stop.cancelled()), async {
        let receipt = revoker.revoke(act).await.unwrap().receipt;
        assert_eq!(node.verdict(&one).await, Verdict::Revoked(Cause::Session));
        over.cancel();
        receipt
    });
    assert_eq!((receipt.seq, receipt.already, receipt.complete), (Seq(1), true, true));
}

async fn an_entry_covers_any_leeway_and_sessions_below_the_floor_are_swept(store: Store) {
    let node = Node::start(store).await;
    let now = node.ledger.clock().now();
    assert_eq!(node.ledger.lifetimes().entry(now), TTL + kickout::clock::MAX_LEEWAY + kickout::clock::SKEW);
    let alice = node.user().await;
    for _ in 0..3 {
        node.session(alice, 0).await;
    }
    node.done(Act::Everything).await;
    let above = node.session(alice, 1).await;
    let devices = kickout::sessions::devices::Devices::new(node.database.clone());
    assert_eq!(devices.sweep(now, 2).await.unwrap(), 2, "in small steps");
    assert_eq!(devices.sweep(now, 2).await.unwrap(), 1);
    assert_eq!(devices.sweep(now, 2).await.unwrap(), 0);
    assert!(!node.done(Act::Session { session: above.session, of: None }).await.already, "what is above lives");
}

async fn another_life_of_the_ledger_ends_everything_also_generations_that_a_backup_forgot(store: Store) {
    let node = Node::start(store).await;
    let alice = node.user().await;
    let ahead = node.session(alice, 99).await;
    assert_eq!(node.verdict(&ahead).await, Verdict::Active);
    let id = node.ledger.clone().begin_anew().await.unwrap();
    assert_ne!(id, node.ledger.id());
    let deployment = node.ledger.deployment();
    let node = node.restart(TTL).await;
    assert_eq!(node.ledger.id(), id);
    assert_eq!(node.ledger.deployment(), deployment, "it is the same deployment");
    assert_eq!(node.verdict(&ahead).await, Verdict::Revoked(Cause::Epoch));
    let done = node.done(Act::Session { session: ahead.session, of: None }).await;
    assert!(done.already);
}

async fn a_lost_floor_over_everything_comes_back_above_all_that_it_had_ended(store: Store) {
    let node = Node::start(store).await;
    // Of the history that was lost: this ledger has never heard of so high a generation.
    let old = node.session(node.user().await, 30).await;
    let floor = Floor { generation: Generation(50), except: Except::Nothing };
    let lost =
        Act::Again(Row { target: Target::Everything, floor: Some(floor), until: Timestamp::from_millis(i64::MAX) });
    assert!(!node.done(lost.clone()).await.already);
    assert_eq!(node.verdict(&old).await, Verdict::Revoked(Cause::Everything));
    let raised = node.ledger.head().await.unwrap().floor;
    assert!(raised > floor.generation, "also above what the lost history has issued since: {raised}");
    let new = node.session(node.user().await, raised.0).await;
    assert!(node.done(lost).await.already, "once, whoever else gives it back");
    assert_eq!(node.verdict(&new).await, Verdict::Active);
}

async fn a_full_queue_is_an_answer(store: Store) {
    let node = Node::start(store).await;
    let (revoker, recorder) = Revoker::new(node.ledger.clone(), Arc::clone(&node.replica), None, 1, Metrics::new());
    let waiting = revoker.revoke(Act::Token(TokenId::random()));
    let refused = revoker.revoke(Act::Token(TokenId::random()));
    let (first, second) = tokio::join!(
        async {
            let first = waiting.await;
            first.map(|revoked| revoked.receipt.complete)
        },
        async {
            let second = refused.await;
            // Only now does anybody record.
            recorder.run(std::future::ready(())).await;
            second
        }
    );
    assert!(matches!(second, Err(RevokeError::Full)));
    assert!(first.unwrap());
}

async fn a_ledger_that_cannot_be_written_says_so_and_records_nothing(store: Store) {
    let node = Node::start(store).await;
    node.database.close().await;
    let error = node.ledger.record(&[Act::Token(TokenId::random())]).await.unwrap_err();
    assert!(matches!(error, DatabaseError::Unavailable(_)), "{error}");
    assert_eq!(node.replica.applied(), Seq(0));
}

async fn what_another_act_of_the_same_batch_has_done_waits_for_that_batch(store: Store) {
    let node = Node::start(store).await;
    let (alice, bob) = (node.user().await, node.user().await);
    let (one, mine) = (node.session(alice, 0).await, node.session(bob, 0).await);
    node.done(Act::Token(TokenId::random())).await;
    let acts = [
        Act::Subject { subject: alice, keep: None },
        Act::Session { session: one.session, of: None },
        Act::Subject { subject: bob, keep: Some(mine.session) },
        Act::Everything,
        Act::Subject { subject: bob, keep: Some(mine.session) },
    ];
    let outcomes: Vec<_> = node.record(&acts).await.into_iter().map(done).collect();
    assert!(outcomes.iter().all(|done| done.seq == Seq(2)), "{outcomes:?}");
    assert_eq!(outcomes.iter().map(|done| done.already).collect::<Vec<_>>(), [false, true, false, false, false]);
    let kept: Vec<_> = outcomes.iter().map(|done| done.kept.as_ref().map(|kept| kept.generation)).collect();
    assert_eq!(kept, [None, None, Some(Generation(1)), None, None], "what comes before everything dies with it");
    let renewed = Presented { generation: Generation(1), ..mine };
    for dead in [one, mine, renewed] {
        assert!(matches!(node.verdict(&dead).await, Verdict::Revoked(_)), "{dead:?}");
    }
}

async fn a_database_that_a_newer_version_has_used_is_refused(store: Store) {
    let database = store.open().await;
    sql("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', true, $1, 0)")
    .bind([0_u8; 48].as_slice())
    .execute(&mut database.write().await.unwrap())
    .await
    .unwrap();
    database.close().await;
    let error = store.try_open().await.unwrap_err();
    assert!(matches!(error, DatabaseError::Newer(9999)), "{error}");
    assert!(error.to_string().contains("start that version"), "{error}");
}

async fn deployments_have_names_of_their_own_also_where_the_ledger_is_older_than_names(store: Store) {
    let mut names = Vec::new();
    for _ in 0..2 {
        let store = store.another().await;
        store.before_deployments().await;
        let node = Node::start(store).await;
        let name = node.ledger.deployment();
        assert_eq!(node.restart(TTL).await.ledger.deployment(), name);
        names.push(name.as_u128());
    }
    names.push(Node::start(store).await.ledger.deployment().as_u128());
    assert!(names[0] != names[1] && names[1] != names[2] && names[0] != names[2], "{names:x?}");
    assert!(!names.contains(&0), "{names:x?}");
}
