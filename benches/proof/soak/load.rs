//! People with browsers: they log in, are checked, refresh, leave, and come again; and all that is answered is checked.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
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

/// Why a token is refused that was ended.
const ENDED: &str = "urn:kickout:problem:session-ended";

/// On average between two requests of one person.
const PAUSE: Duration = Duration::from_millis(45);

/// What all of them share.
#[derive(Debug)]
pub(crate) struct Crowd {
    nodes: Vec<Net>,
    pub(crate) weather: Arc<Weather>,
    ended: Mutex<VecDeque<Ended>>,
    /// How long each kind of act took since that was last taken, in milliseconds.
    times: Mutex<BTreeMap<&'static str, Vec<f64>>>,
    /// The keys that have signed a token, by its header.
    kids: Mutex<BTreeSet<String>>,
    pub(crate) counts: Counts,
    pub(crate) over: CancellationToken,
}

/// A token whose end was acknowledged.
#[derive(Debug, Clone)]
struct Ended {
    access: String,
    /// When it was asked for.
    since: Duration,
}

/// What was asked and answered.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) checks: AtomicU64,
    /// Of a token that had ended and had surely not expired, for that reason.
    pub(crate) denials: AtomicU64,
    /// Of one that may have expired as well.
    pub(crate) late_denials: AtomicU64,
    pub(crate) logins: AtomicU64,
    pub(crate) refreshes: AtomicU64,
    pub(crate) logouts: AtomicU64,
    /// "Not now", or no answer: around a fault.
    pub(crate) unavailable: AtomicU64,
}

impl Counts {
    pub(crate) fn all(&self) -> [(&'static str, u64); 7] {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("checks of good tokens", of(&self.checks)),
            ("checks of ended tokens that had not expired", of(&self.denials)),
            ("checks of ended tokens, later", of(&self.late_denials)),
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
        let (ended, times, kids) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (counts, over) = (Counts::default(), CancellationToken::new());
        Arc::new(Self { nodes, weather, ended, times, kids, counts, over })
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

    /// How long each act of this kind took since they were last taken, once there are so many.
    pub(crate) fn take_times(&self, what: &str, least: usize) -> Vec<f64> {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = times.get_mut(what).filter(|times| times.len() >= least);
        enough.map(std::mem::take).unwrap_or_default()
    }

    /// How many keys have signed.
    pub(crate) fn signing_keys(&self) -> usize {
        self.kids.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Something began then, and has been done.
    fn took(&self, what: &'static str, began: Duration) {
        let took = self.weather.now().saturating_sub(began).as_secs_f64() * 1e3;
        self.times.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default().push(took);
    }

    /// What has been opened or refreshed.
    fn visit(&self, body: &Value, since: Duration) -> Result<Visit, Failure> {
        let access = text(body, "access_token")?;
        let kid = kid(&access).ok_or_else(|| format!("a token without a key's name: {body}"))?;
        self.kids.lock().unwrap_or_else(PoisonError::into_inner).insert(kid);
        Ok(Visit { access, refresh: text(body, "refresh_token")?, since })
    }

    fn remember(&self, token: Ended) {
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
                self.crowd.took("login", since);
                add(&self.crowd.counts.logins);
                self.crowd.visit(&body, since).map(Some)
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
                self.crowd.took("refresh", since);
                add(&self.crowd.counts.refreshes);
                *visit = self.crowd.visit(&body, since)?;
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
        match answer {
            Some((200, _)) => {
                self.crowd.took("check", began);
                add(&self.crowd.counts.checks);
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

    /// While it has surely not expired, and its key was not taken back, it must be refused because it has ended.
    async fn is_refused(&mut self, token: &Ended) -> Result<(), Failure> {
        let (node, began) = (self.node(), self.crowd.weather.now());
        let call = node.get("/v1/auth/verify").bearer(&token.access);
        let answer = self.crowd.ask("a check of an ended token", call, began).await?;
        let weather = &self.crowd.weather;
        let is_sure = weather.now() < token.since + SURELY_GOOD && weather.is_judged(token.since);
        match answer {
            Some((401, body)) if is_sure && body["type"] == ENDED => add(&self.crowd.counts.denials),
            Some((401, _)) if !is_sure => add(&self.crowd.counts.late_denials),
            None => {}
            other => {
                let age = began.saturating_sub(token.since);
                return Err(format!("an ended token, {age:?} old: {other:?} at {}", node.public()).into());
            }
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
                self.crowd.took("logout", began);
                add(&self.crowd.counts.logouts);
                let ended = Ended { access: visit.access, since: visit.since };
                self.is_refused(&ended).await?;
                self.crowd.remember(ended);
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

/// The key that a token's header names.
fn kid(token: &str) -> Option<String> {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
    serde_json::from_slice::<Value>(&header).ok()?["kid"].as_str().map(str::to_owned)
}

fn text(body: &Value, member: &str) -> Result<String, Failure> {
    body[member].as_str().map(str::to_owned).ok_or_else(|| format!("no {member}: {body}").into())
}
