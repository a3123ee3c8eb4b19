//! One episode, from the start of its cluster to the verdict.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rand::rngs::StdRng;
use tokio::{task::block_in_place, time::sleep};

use super::{
    calls::Caller,
    clients::{Clients, SWEEPERS},
    clock::Wall,
    faults::Scene,
    moment,
    plan::{Kind, Plan, dice},
    tables::Tables,
    watch::Watch,
    world::World,
};
use crate::{
    Failure,
    history::{Event, History},
    judge::{judge, results::EpisodeSummary},
    support::{postgres::Server, wait::all},
};

/// How long the clients work before the first fault, and after the last one is over.
const WARM: Duration = Duration::from_millis(1500);

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
    let scene = Arc::new(Scene::new(Arc::clone(&world), wall));

    let clients = Clients::begin(&caller, (plan.seed, plan.episode), plan.shape.nodes, plan.shape.reuses);
    let (warm, most) = if plan.is_brief { (WARM / 3, SAMPLE / 8) } else { (WARM, SAMPLE) };
    sleep(warm).await;
    scene.suffers(plan).await;
    let mut trouble = world.heal().await;
    trouble.extend(world.all_ready().await.err());
    sleep(warm).await;
    clients.end().await;

    let mut dice = dice(plan.seed, plan.episode, 999);
    sweep(&caller, most, &mut dice).await;
    trouble.extend(Box::pin(world.kill_and_start_everything()).await.err());
    let restarted = Some(moment());
    sweep(&caller, most, &mut dice).await;
    if plan.shape.reuses && !plan.is_brief {
        try_old_tickets(&caller).await;
        sweep(&caller, most, &mut dice).await;
    }
    trouble.extend(scene.troubles());
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
    let events = std::mem::take(&mut *events.lock().unwrap_or_else(PoisonError::into_inner));
    let history = History {
        seed: plan.seed,
        episode: plan.episode,
        cluster: world.cluster(),
        faults: scene.faults(),
        events,
        restarted,
    };
    let summary = EpisodeSummary {
        episode: plan.episode,
        faults: plan.faults.iter().map(|planned| planned.kind.to_string()).collect(),
        cluster: world.cluster(),
        took_seconds: Duration::from_nanos(moment() - since).as_secs_f64(),
        findings: judge(&history),
        trouble,
    };
    Ok(Ended { history, summary, world })
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
