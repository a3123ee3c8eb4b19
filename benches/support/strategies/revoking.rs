//! How long a revocation takes to bite, as clients see it.
//!
//! Each node is asked, over a connection of its own and as fast as it answers, whether a credential may come in. Then
//! the first node is sent an act that takes the credential back. What counts is when the last node refuses it for the
//! first time, and when the receipt is there. All nodes share one core, which is never idle then, and the stores another
//! one with whoever asks: a node is asked every some hundred microseconds, the more nodes the less often, and no figure
//! is finer than that. With a machine for each node figures for several nodes would be lower.
//!
//! Of several devices each is sent in turn, so the last refusal of an act that ends them all is seen up to as many
//! requests late.
//!
//! The asking goes on after the receipt, until every credential was sent to every node again, or for 200 ms if it is
//! still accepted. What is accepted although it was sent after a *complete* receipt ends the run with an error, and so
//! does whatever is accepted again after a refusal.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use kickout::clock::{BootInstant, Clock};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{sync::Barrier, task::JoinSet};

use super::{
    arms::Kind,
    asking::{Answer, Line},
    results::Revoking,
    scene::{Person, Scene, Site},
};
use crate::Failure;

/// How long a credential that is still accepted after the receipt is watched.
const WATCHED: Duration = Duration::from_millis(200);

/// Sessions that everybody has.
const DEVICES: usize = 3;

/// How often each credential is sent to each node after the receipt.
const AGAIN: usize = 3;

/// What takes credentials back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// A logout of one session.
    Session,
    /// A logout of a user's every device, asked for by one of them.
    Devices,
    /// An operator bans the user.
    Ban,
}

impl Act {
    const ALL: [Self; 3] = [Self::Session, Self::Devices, Self::Ban];

    const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Devices => "all devices",
            Self::Ban => "ban",
        }
    }

    /// The credentials that it takes back.
    fn of(self, person: &Person) -> &[String] {
        match self {
            Self::Session => &person.cookies[..1],
            Self::Devices | Self::Ban => &person.cookies,
        }
    }

    /// What an arm can do. The peer ends one session; of the others of a user it knows nothing.
    fn all_of(kind: Kind) -> &'static [Self] {
        if kind.is_kickout() { &Self::ALL } else { &Self::ALL[..1] }
    }
}

/// What one node has answered.
#[derive(Debug)]
struct Watched {
    /// When each credential was refused for the first time.
    refused: Vec<Option<BootInstant>>,
    /// When the requests were sent that were accepted.
    accepted: Vec<BootInstant>,
}

/// One act and its consequences.
struct Once {
    refused_ms: Option<f64>,
    receipt_ms: f64,
    is_complete: bool,
    in_force_after_s: Option<f64>,
    accepted_after_receipt: u64,
}

/// Every act on so many nodes, `repeats` times each.
pub(crate) async fn measure(
    site: Site<'_>,
    kind: Kind,
    nodes: usize,
    repeats: usize,
) -> Result<Vec<Revoking>, Failure> {
    let scene = Scene::start(site, kind, nodes, &[]).await?;
    let (acts, mut found) = (Act::all_of(kind), Vec::new());
    // The first of each act is not counted: connections are made and statements prepared for it.
    let people = scene.people(acts.len() * (repeats + 1), DEVICES).await?;
    for (&act, people) in acts.iter().zip(people.chunks(repeats + 1)) {
        let mut all = Vec::with_capacity(people.len());
        for person in people {
            all.push(once(&scene, act, person).await?);
        }
        found.push(summary(kind, nodes, act, &all[1..])?);
    }
    scene.stop().await?;
    Ok(found)
}

fn summary(kind: Kind, nodes: usize, act: Act, all: &[Once]) -> Result<Revoking, Failure> {
    let complete = all.iter().all(|once| once.is_complete);
    let revoking = Revoking {
        arm: kind.name().to_owned(),
        nodes: u32::try_from(nodes)?,
        act: act.name().to_owned(),
        refused_ms: all.iter().map(|once| once.refused_ms).collect(),
        receipt_ms: all.iter().map(|once| once.receipt_ms).collect(),
        complete,
        in_force_after_s: all.iter().filter_map(|once| once.in_force_after_s).reduce(f64::max),
        accepted_after_receipt: all.iter().map(|once| once.accepted_after_receipt).sum(),
    };
    if kind.is_kickout() && kind.takes_back() && !complete {
        return Err(format!("a receipt of a healthy cluster is not complete: {revoking:?}").into());
    }
    if all.iter().any(|once| once.is_complete && once.accepted_after_receipt > 0) {
        return Err(format!("what was revoked was accepted after its complete receipt: {revoking:?}").into());
    }
    Ok(revoking)
}

async fn once(scene: &Scene<'_>, act: Act, person: &Person) -> Result<Once, Failure> {
    let clock = Clock::System;
    let (told, all_ask) = (Arc::new(OnceLock::new()), Arc::new(Barrier::new(scene.len() + 1)));
    let mut watching = JoinSet::new();
    for node in 0..scene.len() {
        let line = scene.line(node).clone();
        watching.spawn(watch(line, act.of(person).to_vec(), Arc::clone(&told), Arc::clone(&all_ask)));
    }
    // A node that refuses what is valid never gets here.
    tokio::select! {
        _ = all_ask.wait() => {}
        Some(early) = watching.join_next() => return Err(early?.err().unwrap_or_else(|| "nothing was watched".into())),
    }
    let (sent, sent_wall) = (clock.boottime(), clock.wall().as_millis());
    let answer = perform(scene, act, person).await?;
    let receipt = *told.get_or_init(|| clock.boottime());
    let receipt_of = |answer: &Answer| answer.body.get("value").unwrap_or(&answer.body).clone();
    let body = receipt_of(&answer);
    if !(200..300).contains(&answer.status) {
        return Err(format!("{}: {answer:?}", act.name()).into());
    }
    let mut all = Vec::with_capacity(scene.len());
    while let Some(watched) = watching.join_next().await {
        all.push(watched??);
    }
    let refused: Option<Vec<BootInstant>> = all.iter().flat_map(|watched| watched.refused.iter().copied()).collect();
    let last = refused.and_then(|refused| refused.into_iter().max());
    let after = all.iter().flat_map(|watched| &watched.accepted).filter(|sent| **sent > receipt).count();
    let ms = |until: BootInstant| until.since(sent).as_secs_f64() * 1e3;
    Ok(Once {
        refused_ms: last.map(ms),
        receipt_ms: ms(receipt),
        is_complete: body.get("complete").and_then(Value::as_bool).unwrap_or(false),
        in_force_after_s: in_force_after(&body, sent_wall)?,
        accepted_after_receipt: u64::try_from(after)?,
    })
}

/// Does it at the first node.
async fn perform(scene: &Scene<'_>, act: Act, person: &Person) -> Result<Answer, Failure> {
    match act {
        Act::Session => scene.log_out(person.cookie()).await,
        Act::Devices => scene.log_out_everywhere(person.cookie()).await,
        Act::Ban => scene.command("user_ban", &person.subject).await,
    }
}

/// Seconds from the act to when the receipt says that it bites, if it names a time.
fn in_force_after(receipt: &Value, sent_wall_ms: i64) -> Result<Option<f64>, Failure> {
    let Some(text) = receipt.get("in_force_at").and_then(Value::as_str) else { return Ok(None) };
    let at_ms = OffsetDateTime::parse(text, &Rfc3339)?.unix_timestamp_nanos() / 1_000_000;
    let ms = u32::try_from((at_ms - i128::from(sent_wall_ms)).max(0))?;
    Ok(Some(f64::from(ms) / 1e3))
}

/// Asks a node for these credentials, in turn and again and again, until nothing more is to be learned.
async fn watch(
    line: Line,
    cookies: Vec<String>,
    told: Arc<OnceLock<BootInstant>>,
    all_ask: Arc<Barrier>,
) -> Result<Watched, Failure> {
    let clock = Clock::System;
    for cookie in &cookies {
        let status = line.verify(cookie).await?;
        if status != 200 {
            return Err(format!("a valid credential was answered with {status}").into());
        }
    }
    all_ask.wait().await;
    let mut watched = Watched { refused: vec![None; cookies.len()], accepted: Vec::new() };
    let mut again = 0;
    loop {
        let receipt = told.get().copied();
        if let Some(receipt) = receipt {
            let is_watched = again >= AGAIN && watched.refused.iter().all(Option::is_some);
            if is_watched || clock.boottime().since(receipt) >= WATCHED {
                return Ok(watched);
            }
        }
        for (cookie, refused) in cookies.iter().zip(&mut watched.refused) {
            let sent = clock.boottime();
            match (line.verify(cookie).await?, *refused) {
                (200, None) => watched.accepted.push(sent),
                (200, Some(_)) => return Err("a credential was accepted again after it was refused".into()),
                (401, None) => *refused = Some(clock.boottime()),
                (401, Some(_)) => {}
                (status, _) => return Err(format!("a credential was answered with {status}").into()),
            }
        }
        again += usize::from(receipt.is_some());
    }
}
