//! Redis is full, gone, restarted, or does not answer.

use std::time::Duration;

use kickout::{
    ids::{LedgerId, NodeId, TokenId},
    revocation::{
        Cause, Target,
        blocklist::{BlocklistError, Message},
    },
};

use super::{
    super::support::{
        redis::Redis,
        wait::{all, eventually},
    },
    PATIENCE, SLACK, at, batch, heard, now, open, presented, publish, row, timed,
};

/// The limit of a call to a Redis that does not answer.
const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_full_server_still_carries_pushes_and_answers_looks() {
    let redis = Redis::start();
    let (blocklist, ledger) = (open(&redis, PATIENCE).await, LedgerId::random());
    let mut listener = blocklist.listen().await.unwrap();
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let batch = batch(ledger, vec![row(Target::Token(TokenId::random()))]);
    let error = blocklist.publish(&batch, now()).await.unwrap_err();
    assert!(matches!(error, BlocklistError::Protocol(_)), "{error:?}");
    assert_eq!(heard(&mut listener).await, Message::Push(batch));
    assert_eq!(blocklist.look(&presented(ledger, 0)).await, Ok(None));
    assert!(blocklist.is_healthy());
}

#[tokio::test]
async fn a_server_that_is_gone_costs_one_call_and_is_used_again_when_it_is_back() {
    let redis = Redis::start();
    let blocklist = open(&redis, PATIENCE).await;
    let dead = presented(LedgerId::random(), 0);
    let batch = batch(dead.epoch, vec![row(Target::Token(dead.token))]);
    let mut listener = blocklist.listen().await.unwrap();
    blocklist.publish(&batch, now()).await.unwrap();
    blocklist.look(&dead).await.unwrap();
    heard(&mut listener).await;

    redis.stop();
    let (ended, took) = timed(listener.next()).await;
    assert!(matches!(ended, Err(BlocklistError::Unreachable(_))), "{ended:?}");
    assert!(took < Duration::from_secs(2) + SLACK, "{took:?}");
    let error = blocklist.look(&dead).await.unwrap_err();
    assert!(matches!(error, BlocklistError::Unreachable(_)), "{error:?}");
    assert!(!blocklist.is_healthy());
    assert_eq!(blocklist.look(&dead).await, Err(BlocklistError::Away));
    assert_eq!(blocklist.publish(&batch, now()).await, Err(BlocklistError::Away));
    assert_eq!(blocklist.acknowledge(NodeId::random(), dead.epoch, at(1)).await, Err(BlocklistError::Away));
    assert!(blocklist.listen().await.is_err());
    // One that tries finds it gone still.
    eventually!(matches!(blocklist.look(&dead).await, Err(BlocklistError::Unreachable(_))));

    redis.resume();
    eventually!(blocklist.look(&dead).await == Ok(None), Duration::from_secs(2) + SLACK);
    assert!(blocklist.is_healthy());
    let mut listener = blocklist.listen().await.unwrap();
    blocklist.publish(&batch, now()).await.unwrap();
    assert_eq!(heard(&mut listener).await, Message::Push(batch));
    assert_eq!(blocklist.look(&dead).await, Ok(Some(Cause::Token)));
}

#[tokio::test]
async fn a_restart_between_two_calls_is_not_noticed() {
    let redis = Redis::start();
    let blocklist = open(&redis, PATIENCE).await;
    let dead = presented(LedgerId::random(), 0);
    let rows = vec![row(Target::Token(dead.token))];
    publish(&blocklist, dead.epoch, rows.clone()).await;
    assert_eq!(blocklist.look(&dead).await, Ok(Some(Cause::Token)));
    redis.stop();
    redis.resume();
    assert_eq!(blocklist.look(&dead).await, Ok(None), "on a new connection");
    redis.stop();
    redis.resume();
    publish(&blocklist, dead.epoch, rows).await;
    assert_eq!(blocklist.look(&dead).await, Ok(Some(Cause::Token)));
}

#[tokio::test]
async fn a_paused_server_makes_calls_late_within_the_limit_and_ends_its_listeners() {
    let redis = Redis::start();
    let blocklist = open(&redis, SHORT).await;
    let dead = presented(LedgerId::random(), 0);
    let batch = batch(dead.epoch, vec![row(Target::Token(dead.token))]);
    // A slow start of the first connections is not what this is about.
    eventually!(blocklist.look(&dead).await.is_ok());
    eventually!(blocklist.publish(&batch, now()).await.is_ok());
    let mut listener = blocklist.listen().await.unwrap();

    redis.pause();
    let (answers, took) = timed(all((0..50).map(|_| blocklist.look(&dead)))).await;
    assert!(answers.iter().all(|answer| *answer == Err(BlocklistError::Late)), "{answers:?}");
    assert!((SHORT..SHORT + SLACK).contains(&took), "{took:?}");
    let (answer, took) = timed(blocklist.look(&dead)).await;
    assert_eq!(answer, Err(BlocklistError::Away), "it is not asked at once again");
    assert!(took < SHORT, "{took:?}");
    let mut late = Duration::ZERO;
    eventually!({
        let (answer, took) = timed(blocklist.publish(&batch, now())).await;
        late = took;
        answer == Err(BlocklistError::Late)
    });
    assert!((SHORT..SHORT + SLACK).contains(&late), "{late:?}");

    let (ended, took) = timed(async {
        loop {
            if let Err(error) = listener.next().await {
                return error;
            }
        }
    })
    .await;
    assert_eq!(ended, BlocklistError::Late);
    assert!(took < Duration::from_secs(2) + SLACK, "{took:?}");
    let (again, took) = timed(blocklist.listen()).await;
    assert_eq!(again.map(drop), Err(BlocklistError::Late));
    assert!(took < Duration::from_secs(5) + SLACK, "{took:?}");

    redis.unpause();
    eventually!(blocklist.look(&dead).await == Ok(Some(Cause::Token)));
    assert!(blocklist.is_healthy());
}
