use std::{convert::Infallible, future, process::Command, sync::atomic::AtomicUsize};

use super::*;

const SOON: Duration = Duration::from_secs(5);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("it happens within 5 s")
}

#[tokio::test]
async fn a_supervised_task_that_panics_or_fails_or_returns_is_started_again() {
    let tasks = Tasks::new(Shutdown::new());
    let starts = Arc::new(AtomicUsize::new(0));
    let well = CancellationToken::new();
    let (count, is_well, soft) = (Arc::clone(&starts), well.clone(), tasks.shutdown().soft().clone());
    tasks.supervise("renewer", Policy::Restart, move || {
        let start = count.fetch_add(1, Ordering::SeqCst);
        assert_ne!(start, 0, "a panic before the task's first await");
        let (is_well, soft) = (is_well.clone(), soft.clone());
        async move {
            match start {
                1 => panic!("a panic within the task"),
                2 => Err("no database"),
                3 => Ok(()),
                _ => {
                    is_well.cancel();
                    soft.cancelled().await;
                    Ok(())
                }
            }
        }
    });
    soon(well.cancelled()).await;
    assert_eq!(starts.load(Ordering::SeqCst), 5);
    assert!(!tasks.shutdown().soft().is_cancelled(), "the process goes on");

    tasks.shutdown().drain();
    assert_eq!(tasks.wait(SOON).await, Vec::<&str>::new());
    assert_eq!(starts.load(Ordering::SeqCst), 5, "its end after soft is no reason to start it again");
}

#[tokio::test]
async fn a_fatal_task_stops_the_process_and_is_named_as_the_reason() {
    let tasks = Tasks::new(Shutdown::new());
    tasks.supervise("keys", Policy::Fatal, || future::ready(Err("the key file is gone")));
    soon(tasks.shutdown().soft().cancelled()).await;
    let reason = tasks.shutdown().fatal().expect("a reason");
    assert_eq!(reason.task, "keys");
    assert_eq!(reason.to_string(), "task keys failed: the key file is gone");
    assert!(!tasks.shutdown().hard().is_cancelled());

    tasks.shutdown().fail(Fatal { task: "feed", problem: "failed: shutting down".to_owned() });
    assert_eq!(tasks.shutdown().fatal().map(|reason| reason.task), Some("keys"), "the first reason is kept");
    assert!(tasks.wait(SOON).await.is_empty());
}

#[tokio::test]
async fn a_fatal_task_that_ends_after_soft_is_no_reason_to_fail() {
    let tasks = Tasks::new(Shutdown::new());
    let soft = tasks.shutdown().soft().clone();
    tasks.supervise("server", Policy::Fatal, move || {
        let soft = soft.clone();
        async move {
            soft.cancelled().await;
            Err("a connection was reset while draining")
        }
    });
    tasks.shutdown().drain();
    assert!(tasks.wait(SOON).await.is_empty());
    assert_eq!(tasks.shutdown().fatal(), None);
}

#[tokio::test]
async fn a_task_in_its_pause_before_a_restart_does_not_hold_up_the_end() {
    let tasks = Tasks::new(Shutdown::new());
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    tasks.supervise("feed", Policy::Restart, move || {
        let _ = tell.send(());
        future::ready(Err("no redis"))
    });
    // After five failures the pause is over a second and a half.
    for _ in 0..5 {
        soon(told.recv()).await;
    }
    tasks.shutdown().drain();
    assert!(timeout(Duration::from_secs(1), tasks.wait(SOON)).await.expect("within a second").is_empty());
}

#[tokio::test]
async fn wait_names_the_tasks_that_ignore_being_cut() {
    let tasks = Tasks::new(Shutdown::new());
    let soft = tasks.shutdown().soft().clone();
    let hard = tasks.shutdown().hard().clone();
    tasks.supervise("deaf", Policy::Restart, future::pending::<Result<(), Infallible>>);
    tasks.spawn("polite", async move { soft.cancelled().await });
    tasks.spawn("slow", async move { hard.cancelled().await });
    tasks.spawn("deaf-too", future::pending::<()>());
    tasks.shutdown().drain();
    assert_eq!(soon(tasks.wait(Duration::from_millis(50))).await, ["deaf", "deaf-too"]);
    assert!(tasks.shutdown().hard().is_cancelled(), "the limit cuts");
}

#[tokio::test]
async fn a_spawned_task_outlives_its_handle_and_its_panic_is_seen_by_who_awaits_it() {
    let tasks = Tasks::new(Shutdown::new());
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let (done, is_done) = tokio::sync::oneshot::channel();
    drop(tasks.spawn("commit", async move {
        let _ = gone.await;
        let _ = done.send(42);
    }));
    drop(go);
    assert_eq!(soon(is_done).await, Ok(42));

    let error = soon(tasks.spawn("commit", async { panic!("a bug") })).await.unwrap_err();
    assert!(error.is_panic());
    assert!(tasks.wait(SOON).await.is_empty());
}

#[tokio::test]
async fn the_first_signal_drains_and_the_second_cuts() {
    let signal = |name: &str| {
        // The shell's own kill, since not every machine has the program.
        let status = Command::new("sh").args(["-c", "kill -s \"$0\" $PPID", name]).status().unwrap();
        assert!(status.success());
    };
    let shutdown = Shutdown::new();
    shutdown.listen_for_signals(Duration::from_mins(1)).unwrap();
    signal("TERM");
    soon(shutdown.soft().cancelled()).await;
    assert!(!shutdown.hard().is_cancelled());
    assert_eq!(shutdown.fatal(), None, "a signal is no failure");
    signal("INT");
    soon(shutdown.hard().cancelled()).await;
}

#[tokio::test]
async fn draining_has_a_limit_also_when_no_signal_began_it() {
    let shutdown = Shutdown::new();
    shutdown.listen_for_signals(Duration::from_millis(20)).unwrap();
    shutdown.drain();
    soon(shutdown.hard().cancelled()).await;
}

#[test]
fn pauses_double_from_100_ms_to_10_s_with_jitter() {
    let mut backoff = Backoff::default();
    for ceiling_ms in [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
        let pause = millis(backoff.next());
        assert!((ceiling_ms / 2..=ceiling_ms).contains(&pause), "{pause} of {ceiling_ms}");
    }
    for _ in 0..100 {
        assert!(backoff.next() <= LONGEST_PAUSE, "also after many failures");
    }
    let firsts: std::collections::BTreeSet<_> = (0..20).map(|_| Backoff::default().next()).collect();
    assert!(firsts.len() > 1, "two nodes do not pause alike");
}
