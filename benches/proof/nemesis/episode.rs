//! One episode, from the start of its cluster to the verdict.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::rngs::StdRng;
use tokio::{task::block_in_place, time::sleep};

use super::{
    bites,
    calls::Caller,
    clients::{Clients, SWEEPERS},
    clock::Wall,
    faults::{EVERYTHING, Scene},
    moment,
    plan::{Kind, Plan, dice},
    tables::Tables,
    watch::Watch,
    world::World,
};
use crate::{
    Failure,
    history::{Event, History},
    judge::{
        LEAST, LEAST_IN_BRIEF, Shown, judge, recovery,
        results::{EpisodeSummary, not_judged},
    },
    support::{postgres::Server, wait::all},
};

/// How long the clients work before the first fault.
const WARM: Duration = Duration::from_millis(1500);

/// How long they go on when nothing excuses anything any more.
const STRICT: Duration = Duration::from_secs(3);

/// How long they go on at most beyond that, until an episode shows something, and one of seconds.
const PATIENCE: Duration = Duration::from_mins(1);
const PATIENCE_IN_BRIEF: Duration = Duration::from_secs(20);

/// Tokens that each node is asked about in the end. More were issued, of which chance chooses.
const SAMPLE: usize = 500;

/// Sessions whose old tickets are tried in the end, of either sort.
const TRIED: usize = 25;

/// An episode that was held.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) history: History,
    pub(super) summary: EpisodeSummary,
    pub(super) world: Arc<World>,
    /// What it should have shown and has not.
    pub(super) missing: Vec<String>,
}

/// Holds an episode.
pub(super) async fn run(plan: &Plan, server: &Arc<Server>, has_nets: bool) -> Result<Ended, Failure> {
    let since = moment();
    let wall = wall(plan, server)?;
    let watch = Watch::begin();
    let world = Arc::new(Box::pin(World::start(plan, server, wall.as_ref(), has_nets)).await?);
    let tables = Arc::new(Tables::new(plan.shape.nodes));
    world.sign_up(&tables).await?;
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let caller = Caller { client: 0, world: Arc::clone(&world), tables, events: Arc::clone(&events) };
    let scene = Arc::new(Scene::new(Arc::clone(&world), wall, plan));

    let clients = Clients::begin(&caller, plan, &scene.rush.subscribe());
    let (warm, most) = if plan.is_brief { (WARM / 3, SAMPLE / 8) } else { (WARM, SAMPLE) };
    sleep(warm).await;
    scene.suffers(plan).await;
    let mut trouble = world.heal().await;
    trouble.extend(world.all_ready().await.err());
    sleep(if plan.is_brief { warm } else { unforgiven(plan) }).await;
    let least = if plan.is_brief { LEAST_IN_BRIEF } else { LEAST };
    let so_far = || history(plan, &scene, lock(&events).clone(), None);
    until_it_shows(least, plan.is_brief, so_far).await;
    let mut missing = bites::missing(plan, &so_far(), &world).await;

    let mut dice = dice(plan.seed, plan.episode, 999);
    sweep(&caller, most, &mut dice).await;
    // They are in the middle of what they do, and go on with what is there then, until nothing excuses it any more: what
    // is asked after that is asked of a cluster that has nothing to be excused for.
    let restarted = Some(Box::pin(scene.kills_everything()).await);
    sleep(if plan.is_brief { Duration::ZERO } else { Duration::from_nanos(recovery(EVERYTHING, hold(plan))) }).await;
    clients.end().await;
    sweep(&caller, most, &mut dice).await;
    try_current_tickets(&caller, &mut dice).await;
    if plan.shape.reuses && !plan.is_brief {
        try_old_tickets(&caller).await;
        sweep(&caller, most, &mut dice).await;
    }
    trouble.extend(scene.troubles());
    missing.extend(scene.doubts());
    for starved in watch.end() {
        scene.note(starved);
    }
    if plan.faults.iter().any(|planned| planned.kind.steps_ledger()) {
        server.set_environment(Vec::new());
        block_in_place(|| {
            server.stop();
            server.resume();
        });
    }
    let history = history(plan, &scene, std::mem::take(&mut *lock(&events)), restarted);
    let shown = Shown::of(&history);
    if !shown.is_enough(least) {
        missing.push(format!("it shows nothing: {shown}"));
    }
    let findings = judge(&history);
    let summary = EpisodeSummary {
        episode: plan.episode,
        faults: plan.faults.iter().map(|planned| planned.kind.to_string()).collect(),
        cluster: world.cluster(),
        took_seconds: Duration::from_nanos(moment() - since).as_secs_f64(),
        not_judged: not_judged(&findings.figures),
        findings,
        trouble,
    };
    Ok(Ended { history, summary, world, missing })
}

fn lock(events: &Mutex<Vec<Event>>) -> MutexGuard<'_, Vec<Event>> {
    events.lock().unwrap_or_else(PoisonError::into_inner)
}

fn history(plan: &Plan, scene: &Scene, events: Vec<Event>, restarted: Option<u64>) -> History {
    let (seed, episode, cluster) = (plan.seed, plan.episode, scene.world.cluster());
    History { seed, episode, cluster, faults: scene.faults(), events, restarted }
}

/// How long it takes until nothing is excused by the faults that are over, and a while more.
fn unforgiven(plan: &Plan) -> Duration {
    let names = plan.faults.iter().map(|planned| planned.kind.to_string());
    Duration::from_nanos(names.map(|name| recovery(&name, hold(plan))).max().unwrap_or(0)) + STRICT
}

fn hold(plan: &Plan) -> u64 {
    u64::try_from(plan.shape.hold().as_nanos()).unwrap_or(u64::MAX)
}

/// The clients go on until what they have done shows something. A cut that nobody has looked into stays one.
async fn until_it_shows(least: Shown, is_brief: bool, so_far: impl Fn() -> History) {
    let patience = if is_brief { PATIENCE_IN_BRIEF } else { PATIENCE };
    let since = moment();
    while Duration::from_nanos(moment() - since) < patience {
        let shown = block_in_place(|| Shown::of(&so_far()));
        if shown.is_enough(Shown { unseen: shown.unseen, ..least }) {
            return;
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// The wall clock that is going to be moved; PostgreSQL is started again with it, if it is its own.
fn wall(plan: &Plan, server: &Server) -> Result<Option<Wall>, Failure> {
    let is_ledger = plan.faults.iter().any(|planned| planned.kind.steps_ledger());
    if !is_ledger && !plan.faults.iter().any(|planned| planned.kind == Kind::NodeClock) {
        return Ok(None);
    }
    let wall = Wall::new()?;
    if is_ledger {
        server.set_environment(wall.environment());
        block_in_place(|| {
            server.stop();
            server.resume();
        });
    }
    Ok(Some(wall))
}

/// Every node is asked about every token, or many of them.
async fn sweep(caller: &Caller, most: usize, dice: &mut StdRng) {
    let sample = caller.tables.sample(most, dice);
    let asks = caller.world.nodes().iter().map(|node| {
        let caller = Caller { client: SWEEPERS + u32::from(node.number), ..caller.clone() };
        let sample = &sample;
        Box::pin(async move {
            for (token, text) in sample {
                caller.check(node.number, *token, text).await;
            }
        })
    });
    all(asks).await;
}

/// The tickets of sessions that live: each has outlived the end of everything, and so has its session.
async fn try_current_tickets(caller: &Caller, dice: &mut StdRng) {
    let node = |at: usize| u8::try_from(at % caller.world.nodes().len()).unwrap_or(0);
    let caller = Caller { client: SWEEPERS + 100, ..caller.clone() };
    for (at, (user, session, ticket)) in caller.tables.unused_tickets(TRIED, dice).into_iter().enumerate() {
        caller.refresh(node(at), user, session, ticket).await;
    }
}

/// The last tickets of ended sessions, and the first ones of sessions that live: nobody gets anything for them.
async fn try_old_tickets(caller: &Caller) {
    let tables = &caller.tables;
    let node = |at: usize| u8::try_from(at % caller.world.nodes().len()).unwrap_or(0);
    let caller = Caller { client: SWEEPERS + 100, ..caller.clone() };
    for (at, session) in tables.sessions_with(1, false, TRIED).into_iter().enumerate() {
        let family = tables.family(session);
        if let Some(&ticket) = family.tickets.last() {
            caller.refresh(node(at), family.user, session, ticket).await;
        }
    }
    for (at, session) in tables.sessions_with(3, true, TRIED).into_iter().enumerate() {
        let family = tables.family(session);
        caller.refresh(node(at), family.user, session, family.tickets[0]).await;
        tables.ends(session);
    }
}
