//! What happens when a store is gone.
//!
//! One node of each arm, all at once, with a lease of four seconds instead of ten, so that two seconds after the store
//! was stopped are within it and five are beyond. Three people have sessions; one has logged out before. Then the store
//! is stopped: an orderly stop, after which nobody listens on its port. At some moments from its beginning on, or when
//! it has ended if that is later, a valid credential is sent, and the one that was taken back; with the first of them
//! the third person logs out. When all of that is answered, the store comes back on its port, Redis empty, PostgreSQL
//! with what it had, and both credentials are sent again and again.
//!
//! Every status is told as it was seen, and 0 where no answer came in time. Nothing is judged but this: an arm whose
//! truth is in the ledger and whose nodes remember it accepts nothing that was taken back, whatever is away or comes
//! back; else the run has failed.

use std::time::Duration;

use kickout::clock::{BootInstant, Clock};
use tokio::task::JoinSet;

use super::{
    arms::Kind,
    asking::Line,
    results::Outage,
    scene::{Person, Scene, Site},
};
use crate::Failure;

/// It is renewed well before it is over, so a little less than this is what an outage may last.
const LEASE: &str = "4s";

/// How long a request may take: the pool of connections to PostgreSQL gives up sooner, and so does Redis.
const LIMIT: Duration = Duration::from_secs(10);

/// How long a logout may take: one whose store is away is answered, as not complete, when a dead node would be given up.
const LOGOUT_LIMIT: Duration = Duration::from_secs(20);

/// How long a store may be back until its answers count: nodes try again by themselves.
const BACK: Duration = Duration::from_secs(30);

/// Between two requests after the store has come back.
const PAUSE: Duration = Duration::from_millis(50);

/// Which one is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Redis,
    Sql,
}

impl Store {
    pub(crate) const ALL: [Self; 2] = [Self::Redis, Self::Sql];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Sql => "sql",
        }
    }

    /// Whether an arm has such a store.
    pub(crate) fn is_of(self, kind: Kind) -> bool {
        self == Self::Redis || kind.is_kickout()
    }

    fn stop(self, site: Site<'_>) -> Result<(), Failure> {
        match self {
            Self::Redis => site.redis.stop(),
            Self::Sql => site.postgres.stop(),
        }
    }

    fn resume(self, site: Site<'_>) -> Result<(), Failure> {
        match self {
            Self::Redis => site.redis.resume(),
            Self::Sql => site.postgres.resume(),
        }
    }
}

/// When to look.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    /// Seconds after the stop.
    pub(crate) seconds: Vec<f64>,
    /// Whether the third person logs out: some arms take 13 s to say that they cannot.
    pub(crate) has_logout: bool,
    /// How long the credential that was taken back is sent after the store is back.
    pub(crate) after_return: Duration,
}

/// What one request of an arm was answered.
struct Answered {
    patient: usize,
    is_valid: bool,
    seconds: f64,
    status: u16,
}

/// One arm during an outage.
struct Patient<'a> {
    scene: Scene<'a>,
    valid: Person,
    revoked: Person,
    leaving: Person,
    found: Outage,
}

impl Patient<'_> {
    fn line(&self) -> Line {
        self.scene.line(0).clone()
    }

    /// Whether its nodes must not forget.
    fn must_refuse(&self) -> bool {
        matches!(self.scene.kind(), Kind::Hybrid | Kind::Exact)
    }

    /// Fails if what was taken back was accepted.
    fn check(&self, status: u16, when: &str) -> Result<(), Failure> {
        if self.must_refuse() && status == 200 {
            let (arm, store) = (&self.found.arm, &self.found.store);
            return Err(format!("{arm}: a revoked credential was accepted {when} {store} was away").into());
        }
        Ok(())
    }
}

/// All arms while one store is away. When this returns, the store is back.
pub(crate) async fn measure(
    site: Site<'_>,
    kinds: &[Kind],
    store: Store,
    times: &Times,
) -> Result<Vec<Outage>, Failure> {
    let mut patients = Vec::with_capacity(kinds.len());
    for &kind in kinds {
        patients.push(admit(site, kind, store).await?);
    }
    // From when on it lets nobody in. It has ended a little later.
    let since = Clock::System.boottime();
    store.stop(site)?;
    let (mut asking, mut leaving) = (JoinSet::new(), JoinSet::new());
    for (n, &seconds) in times.seconds.iter().enumerate() {
        wait_until(since + Duration::from_secs_f64(seconds)).await;
        ask(&patients, seconds, &mut asking);
        if n == 0 && times.has_logout {
            log_out(&patients, &mut leaving);
        }
    }
    while let Some(answered) = asking.join_next().await {
        let Answered { patient, is_valid, seconds, status } = answered?;
        let found = &mut patients[patient].found;
        let statuses = if is_valid { &mut found.valid } else { &mut found.revoked };
        statuses.push((seconds, status));
        if !is_valid {
            patients[patient].check(status, "while")?;
        }
    }
    while let Some(left) = leaving.join_next().await {
        let (patient, status) = left?;
        patients[patient].found.logout = status;
    }
    store.resume(site)?;
    watch_return(&mut patients, times.after_return).await?;
    let mut found = Vec::with_capacity(patients.len());
    for mut patient in patients {
        for statuses in [&mut patient.found.valid, &mut patient.found.revoked] {
            statuses.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        found.push(patient.found);
        patient.scene.stop().await?;
    }
    Ok(found)
}

async fn admit(site: Site<'_>, kind: Kind, store: Store) -> Result<Patient<'_>, Failure> {
    let scene = Scene::start(site, kind, 1, &[("revocation.lease", LEASE)]).await?;
    let people = scene.people(3, 1).await?;
    let [valid, revoked, leaving] = <[Person; 3]>::try_from(people).map_err(|_| "three people were asked for")?;
    for person in [&valid, &revoked, &leaving] {
        scene.accepts(0, person.cookie()).await?;
    }
    let answer = scene.log_out(revoked.cookie()).await?;
    let status = scene.line(0).verify(revoked.cookie()).await?;
    if kind.takes_back() && status != 401 {
        return Err(format!("{}: {status} after a logout that was answered {answer:?}", kind.name()).into());
    }
    let found = Outage {
        arm: kind.name().to_owned(),
        store: store.name().to_owned(),
        valid: Vec::new(),
        revoked: Vec::new(),
        logout: 0,
        revoked_after_return: None,
        valid_after_return: None,
    };
    Ok(Patient { scene, valid, revoked, leaving, found })
}

/// Sends both credentials to every arm, and waits for no answer: one that is late must not make the next look late.
fn ask(patients: &[Patient<'_>], seconds: f64, asking: &mut JoinSet<Answered>) {
    for (patient, asked) in patients.iter().enumerate() {
        for (is_valid, person) in [(true, &asked.valid), (false, &asked.revoked)] {
            let (line, cookie) = (asked.line(), person.cookie().to_owned());
            asking.spawn(async move {
                let status = line.verify_within(&cookie, LIMIT).await;
                Answered { patient, is_valid, seconds, status }
            });
        }
    }
}

/// Logs the third person of every arm out.
fn log_out(patients: &[Patient<'_>], leaving: &mut JoinSet<(usize, u16)>) {
    for (n, patient) in patients.iter().enumerate() {
        let (line, cookie) = (patient.line(), patient.leaving.cookie().to_owned());
        let path = patient.scene.logout_path();
        leaving.spawn(async move { (n, log_out_within(&line, path, &cookie).await) });
    }
}

async fn log_out_within(line: &Line, path: &str, cookie: &str) -> u16 {
    match tokio::time::timeout(LOGOUT_LIMIT, line.post(path, cookie)).await {
        Ok(Ok(answer)) => answer.status,
        Ok(Err(_)) | Err(_) => 0,
    }
}

/// What becomes of both credentials: accepted if they ever are, else what they were answered last.
async fn watch_return(patients: &mut [Patient<'_>], watched: Duration) -> Result<(), Failure> {
    let mut asking = JoinSet::new();
    for (patient, asked) in patients.iter().enumerate() {
        for (is_valid, person) in [(true, &asked.valid), (false, &asked.revoked)] {
            let (line, cookie) = (asked.line(), person.cookie().to_owned());
            asking.spawn(async move { (patient, is_valid, settled(&line, &cookie, watched).await) });
        }
    }
    while let Some(answered) = asking.join_next().await {
        let (patient, is_valid, status) = answered?;
        let patient = &mut patients[patient];
        if is_valid {
            patient.found.valid_after_return = Some(status);
        } else {
            patient.check(status, "after")?;
            patient.found.revoked_after_return = Some(status);
        }
    }
    for patient in patients {
        // What was claimed during the outage holds after it.
        if patient.found.logout == 200 {
            let left = patient.scene.line(0).verify_within(patient.leaving.cookie(), LIMIT).await;
            patient.check(left, "after")?;
        }
    }
    Ok(())
}

/// Sends a credential for a while, and longer until it is answered with something else than "not now".
async fn settled(line: &Line, cookie: &str, watched: Duration) -> u16 {
    let begun = Clock::System.boottime();
    loop {
        let status = line.verify_within(cookie, LIMIT).await;
        let waited = Clock::System.boottime().since(begun);
        let is_told = !matches!(status, 0 | 503);
        if status == 200 || waited >= watched && is_told || waited >= BACK {
            return status;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn wait_until(at: BootInstant) {
    tokio::time::sleep(at.since(Clock::System.boottime())).await;
}
