//! People with browsers: they log in, are checked, refresh, leave, and come again; and all that is answered is checked.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::weather::Weather;
use crate::{
    Failure,
    support::client::{Call, Net, PASSWORD},
};

/// `tokens.access_ttl` of the cluster: the shortest there is.
pub(crate) const ACCESS_TTL: &str = "10s";

/// How long a token is surely not expired: its times are whole seconds.
const SURELY_GOOD: Duration = Duration::from_secs(8);

/// When a client refreshes at the latest.
const REFRESH_AFTER: Duration = Duration::from_secs(5);

/// The longest that an answer may take: beyond P2's bound for a lease of 2 s, and a busy machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Ended tokens that are shown again and again.
const REMEMBERED: usize = 64;

/// On average between two requests of one person.
const PAUSE: Duration = Duration::from_millis(45);

/// What all of them share.
#[derive(Debug)]
pub(crate) struct Crowd {
    nodes: Vec<Net>,
    pub(crate) weather: Arc<Weather>,
    ended: Mutex<VecDeque<String>>,
    /// Times of checks since they were last taken, in milliseconds.
    checks: Mutex<Vec<f64>>,
    pub(crate) counts: Counts,
    pub(crate) over: CancellationToken,
}

/// What was asked and answered.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) checks: AtomicU64,
    pub(crate) denials: AtomicU64,
    pub(crate) logins: AtomicU64,
    pub(crate) refreshes: AtomicU64,
    pub(crate) logouts: AtomicU64,
    /// "Not now", or no answer: around a fault.
    pub(crate) unavailable: AtomicU64,
}

impl Counts {
    pub(crate) fn all(&self) -> [(&'static str, u64); 6] {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("checks of good tokens", of(&self.checks)),
            ("checks of ended tokens", of(&self.denials)),
            ("logins", of(&self.logins)),
            ("refreshes", of(&self.refreshes)),
            ("logouts", of(&self.logouts)),
            ("not now, or no answer, around a fault", of(&self.unavailable)),
        ]
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// Somebody with a session.
struct Visit {
    access: String,
    refresh: String,
    /// When the access token was asked for.
    since: Duration,
}

impl Crowd {
    pub(crate) fn new(nodes: Vec<Net>, weather: Arc<Weather>) -> Arc<Self> {
        let (ended, checks) = (Mutex::default(), Mutex::default());
        let (counts, over) = (Counts::default(), CancellationToken::new());
        Arc::new(Self { nodes, weather, ended, checks, counts, over })
    }

    /// So many people, until it is over.
    pub(crate) fn begin(self: &Arc<Self>, people: u64, seed: u64) -> JoinSet<Result<(), Failure>> {
        let mut tasks = JoinSet::new();
        for number in 0..people {
            let (crowd, random) = (Arc::clone(self), StdRng::seed_from_u64(seed.wrapping_add(number)));
            tasks.spawn(async move {
                let mut person = Person { name: format!("soaked-{number}"), crowd, random };
                Box::pin(person.live()).await
            });
        }
        tasks
    }

    /// The times of the checks since the last call.
    pub(crate) fn take_checks(&self) -> Vec<f64> {
        std::mem::take(&mut *self.checks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn remember(&self, token: String) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.push_back(token);
        if ended.len() > REMEMBERED {
            ended.pop_front();
        }
    }

    /// Asks; `None` if nothing can be said now, as it may be around a fault and nowhere else.
    async fn ask(&self, what: &str, call: Call, began: Duration) -> Result<Option<(u16, Value)>, Failure> {
        let answer = timeout(ANSWER_LIMIT, call.try_send()).await;
        let said = match answer {
            Ok(Ok(answer)) if answer.status != 503 => {
                let body = serde_json::from_slice(&answer.body).unwrap_or_default();
                return Ok(Some((answer.status.as_u16(), body)));
            }
            Ok(Ok(answer)) => answer.to_string(),
            Ok(Err(error)) => format!("{error:?}"),
            Err(_) => "no answer".to_owned(),
        };
        if self.weather.was_calm(began) {
            return Err(format!("{what}, with no fault around it: {said}").into());
        }
        add(&self.counts.unavailable);
        Ok(None)
    }
}

struct Person {
    name: String,
    crowd: Arc<Crowd>,
    random: StdRng,
}

impl Person {
    async fn live(&mut self) -> Result<(), Failure> {
        while !self.crowd.over.is_cancelled() {
            if self.sign_up().await? {
                break;
            }
        }
        while !self.crowd.over.is_cancelled() {
            self.pause().await;
            let Some(mut visit) = self.log_in().await? else { continue };
            let steps = self.random.random_range(8..40);
            let mut is_there = true;
            for _ in 0..steps {
                self.pause().await;
                let is_due = visit.since + REFRESH_AFTER < self.crowd.weather.now();
                is_there = match self.random.random_range(0..20) {
                    _ if is_due => self.refresh(&mut visit).await?,
                    0 => self.refresh(&mut visit).await?,
                    1..=4 => self.check_an_ended_one().await?,
                    _ => self.check(&visit).await?,
                };
                if !is_there {
                    break;
                }
            }
            if is_there {
                self.leave(visit).await?;
            }
        }
        Ok(())
    }

    async fn pause(&mut self) {
        let time = PAUSE.mul_f64(2.0 * self.random.random::<f64>());
        self.crowd.over.run_until_cancelled(tokio::time::sleep(time)).await;
    }

    fn node(&mut self) -> Net {
        self.crowd.nodes[self.random.random_range(0..self.crowd.nodes.len())].clone()
    }

    async fn sign_up(&mut self) -> Result<bool, Failure> {
        let call = self.node().post("/v1/auth/signup").json(&json!({"username": self.name, "password": PASSWORD}));
        let began = self.crowd.weather.now();
        match self.crowd.ask("a signup", call, began).await? {
            Some((201 | 409, _)) => Ok(true),
            None => Ok(false),
            other => Err(format!("a signup: {other:?}").into()),
        }
    }

    async fn log_in(&mut self) -> Result<Option<Visit>, Failure> {
        let body = json!({"username": self.name, "password": PASSWORD, "delivery": "body"});
        let since = self.crowd.weather.now();
        let call = self.node().post("/v1/auth/login").json(&body);
        match self.crowd.ask("a login", call, since).await? {
            Some((200, body)) => {
                add(&self.crowd.counts.logins);
                Ok(Some(Visit { access: text(&body, "access_token")?, refresh: text(&body, "refresh_token")?, since }))
            }
            None => Ok(None),
            other => Err(format!("a login: {other:?}").into()),
        }
    }

    /// Whether the visit goes on.
    async fn refresh(&mut self, visit: &mut Visit) -> Result<bool, Failure> {
        let since = self.crowd.weather.now();
        let call = self.node().post("/v1/auth/refresh").json(&json!({"refresh_token": visit.refresh}));
        match self.crowd.ask("a refresh", call, since).await? {
            Some((200, body)) => {
                add(&self.crowd.counts.refreshes);
                *visit = Visit { access: text(&body, "access_token")?, refresh: text(&body, "refresh_token")?, since };
                Ok(true)
            }
            // What became of it is not known: that session is left to itself.
            None => Ok(false),
            other => Err(format!("a refresh: {other:?}").into()),
        }
    }

    async fn check(&mut self, visit: &Visit) -> Result<bool, Failure> {
        let (weather, began) = (Arc::clone(&self.crowd.weather), self.crowd.weather.now());
        let call = self.node().get("/v1/auth/verify").bearer(&visit.access);
        let answer = self.crowd.ask("a check", call, began).await?;
        let took = weather.now().saturating_sub(began);
        match answer {
            Some((200, _)) => {
                add(&self.crowd.counts.checks);
                let mut checks = self.crowd.checks.lock().unwrap_or_else(PoisonError::into_inner);
                checks.push(took.as_secs_f64() * 1e3);
            }
            Some((401, body)) if weather.now() < visit.since + SURELY_GOOD && weather.is_judged(visit.since) => {
                return Err(
                    format!("a good token is refused after {:?}: {body}", began.saturating_sub(visit.since)).into()
                );
            }
            Some((401, _)) | None => {}
            other => return Err(format!("a check: {other:?}").into()),
        }
        Ok(true)
    }

    async fn check_an_ended_one(&mut self) -> Result<bool, Failure> {
        let ended = {
            let ended = self.crowd.ended.lock().unwrap_or_else(PoisonError::into_inner);
            if ended.is_empty() { None } else { ended.get(self.random.random_range(0..ended.len())).cloned() }
        };
        if let Some(token) = ended {
            self.is_refused(&token).await?;
        }
        Ok(true)
    }

    async fn is_refused(&mut self, token: &str) -> Result<(), Failure> {
        let (node, began) = (self.node(), self.crowd.weather.now());
        let call = node.get("/v1/auth/verify").bearer(token);
        match self.crowd.ask("a check of an ended token", call, began).await? {
            Some((401, _)) => add(&self.crowd.counts.denials),
            None => {}
            other => return Err(format!("an ended token: {other:?} at {}", node.public()).into()),
        }
        Ok(())
    }

    /// Ends it, here or everywhere, or just goes away.
    async fn leave(&mut self, visit: Visit) -> Result<(), Failure> {
        let path = match self.random.random_range(0..10) {
            0..6 => "/v1/auth/logout",
            6..9 => "/v1/auth/logout-all",
            _ => return Ok(()),
        };
        let began = self.crowd.weather.now();
        let call = self.node().post(path).bearer(&visit.access).json(&json!({}));
        match self.crowd.ask("a logout", call, began).await? {
            Some((200, receipt)) if receipt["complete"] == true => {
                add(&self.crowd.counts.logouts);
                self.is_refused(&visit.access).await?;
                self.crowd.remember(visit.access);
            }
            // It has expired by now, or its key was taken back.
            Some((401, _)) if visit.since + SURELY_GOOD < self.crowd.weather.now() => {}
            Some((401, _)) if !self.crowd.weather.is_judged(visit.since) => {}
            None => {}
            other => return Err(format!("a logout: {other:?}").into()),
        }
        Ok(())
    }
}

fn text(body: &Value, member: &str) -> Result<String, Failure> {
    body[member].as_str().map(str::to_owned).ok_or_else(|| format!("no {member}: {body}").into())
}
