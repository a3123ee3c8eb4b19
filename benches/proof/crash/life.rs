//! The life of one folder: from its first start through one kill after the other.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kickout::clock::Clock;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    acts::{self, AIMS, Client, Kind, World},
    book::Scope,
    operators::{self, MOST_KEYS},
    service::{Line, Place, Program},
    verify::{Depth, verify},
};
use crate::Failure;

/// Who asks at once.
const CLIENTS: usize = 4;

/// The longest that work goes on before a kill.
const WORK: Duration = Duration::from_millis(500);

/// How long whoever asks a dead process may take to hear of it.
const HEARING: Duration = Duration::from_mins(1);

/// When a process was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// In the first start on a folder, which makes database, keys and secret.
    FirstStart,
    /// In a later start.
    Start,
    /// While clients were at work.
    Work,
    /// While a certain act was at work.
    Aimed(Kind),
    /// While it was stopping.
    Stop,
    /// A command that worked in the folder by itself.
    Command,
}

impl Phase {
    fn name(self) -> String {
        match self {
            Self::FirstStart => "first start".to_owned(),
            Self::Start => "start".to_owned(),
            Self::Work => "work".to_owned(),
            Self::Aimed(kind) => format!("in {}", kind.name()),
            Self::Stop => "stop".to_owned(),
            Self::Command => "command without a server".to_owned(),
        }
    }
}

/// How long things take here: kills are to fall within.
#[derive(Debug, Clone, Copy)]
struct Pace {
    start: Duration,
    stop: Duration,
    command: Duration,
}

/// Before anything was seen.
const GUESS: Pace =
    Pace { start: Duration::from_millis(80), stop: Duration::from_millis(40), command: Duration::from_millis(80) };

/// What came of one life, or of all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) lives: u64,
    pub(crate) kills: BTreeMap<String, u64>,
    pub(crate) checked: BTreeMap<&'static str, u64>,
    pub(crate) acts: BTreeMap<&'static str, acts::Count>,
    /// Acts that were not answered and then were seen to have happened, and not to have.
    pub(crate) happened: u64,
    pub(crate) not_happened: u64,
    /// From the program's start to its readiness, in milliseconds.
    pub(crate) starts: Vec<f64>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.lives += other.lives;
        for (name, count) in other.kills {
            *self.kills.entry(name).or_default() += count;
        }
        for (name, count) in other.checked {
            *self.checked.entry(name).or_default() += count;
        }
        for (name, count) in other.acts {
            self.acts.entry(name).or_default().add(count);
        }
        self.happened += other.happened;
        self.not_happened += other.not_happened;
        self.starts.extend(other.starts);
    }

    pub(crate) fn kills(&self) -> u64 {
        self.kills.values().sum()
    }
}

/// One folder.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) place: Place,
    world: Arc<World>,
    random: StdRng,
    pace: Pace,
    tally: Tally,
}

impl Life {
    /// A new folder, in the working directory of its own.
    pub(crate) fn new(place: Place, seed: u64, number: u64) -> Self {
        // Two lives of one seed share nothing.
        let random = StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number));
        let tally = Tally { lives: 1, ..Tally::default() };
        Self { place, world: Arc::new(World::new()), random, pace: GUESS, tally }
    }

    /// So many kills, most of them in first starts or hardly any.
    pub(crate) async fn run(mut self) -> Result<Tally, Failure> {
        let is_short = self.random.random_bool(0.6);
        let (first, later) = if is_short { (2..8, 1..4) } else { (0..4, 20..40) };
        let (first, later) = (self.random.random_range(first), self.random.random_range(later));
        self.through(first, later, Duration::MAX).await
    }

    /// So many kills in first starts and in later ones, or fewer if the time is over.
    pub(crate) async fn through(mut self, first: u32, later: u32, limit: Duration) -> Result<Tally, Failure> {
        let lived = Box::pin(self.live(first, later, limit)).await;
        lived.map_err(|error| format!("after {} kills: {error}", self.tally.kills()))?;
        Ok(self.end())
    }

    async fn live(&mut self, first: u32, later: u32, limit: Duration) -> Result<(), Failure> {
        for _ in 0..first {
            self.kill_in_start(Phase::FirstStart).await?;
        }
        for _ in 0..later {
            if self.world.now() > limit {
                break;
            }
            let (program, line) = self.start(Depth::Some).await?;
            self.kill_once(program, line).await?;
            self.world.book().died();
            while self.random.random_bool(0.3) {
                self.kill_in_start(Phase::Start).await?;
            }
            if self.random.random_bool(0.12) {
                self.kill_a_command().await?;
            }
        }
        let (program, _line) = self.start(Depth::All).await?;
        self.stop(program).await
    }

    /// What came of it.
    pub(crate) fn end(mut self) -> Tally {
        self.tally.acts = self.world.counts();
        self.tally.checked = self.world.checked();
        (self.tally.happened, self.tally.not_happened) = self.world.book().settled();
        self.tally
    }

    /// Starts it, and checks all that must be true.
    pub(crate) async fn start(&mut self, depth: Depth) -> Result<(Program, Line), Failure> {
        let begun = Clock::System.boottime();
        let mut program = self.place.start(&[])?;
        let line = program.ready().await?;
        let took = Clock::System.boottime().since(begun);
        self.tally.starts.push(took.as_secs_f64() * 1e3);
        self.pace.start = blend(self.pace.start, took);
        let mut client = self.client(&line);
        Box::pin(verify(&mut client, self.place.data(), depth))
            .await
            .map_err(|error| format!("{error}\nthe process said:\n{}", program.said()))?;
        while self.world.book().users.len() < 3 {
            Box::pin(client.ask(Kind::SignUp)).await?;
            for _ in 0..2 {
                Box::pin(client.ask(Kind::LogIn)).await?;
            }
        }
        Ok((program, line))
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn stop(&mut self, mut program: Program) -> Result<(), Failure> {
        program.terminate()?;
        let status = program.ended().await?;
        if !status.success() {
            return Err(format!("a stop: {status}\n{}", program.said()).into());
        }
        Ok(())
    }

    pub(crate) fn client(&mut self, line: &Line) -> Client {
        let random = StdRng::seed_from_u64(self.random.random());
        Client { world: Arc::clone(&self.world), line: line.clone(), random }
    }

    fn killed(&mut self, phase: Phase) {
        *self.tally.kills.entry(phase.name()).or_default() += 1;
    }

    /// Starts it and kills it before it is ready, or soon after.
    async fn kill_in_start(&mut self, phase: Phase) -> Result<(), Failure> {
        let within = self.pace.start.mul_f64(1.1);
        let after = within.mul_f64(self.random.random());
        let mut program = self.place.start(&[])?;
        pause(after).await;
        if !program.kill_9()? {
            return Err(format!("a start ended by itself\n{}", program.said()).into());
        }
        self.killed(phase);
        Ok(())
    }

    /// How much longer things take than on a quiet machine, by how long starts take.
    fn slowness(&self) -> f64 {
        (self.pace.start.as_secs_f64() / GUESS.start.as_secs_f64()).clamp(1.0, 10.0)
    }

    async fn kill_once(&mut self, program: Program, line: Line) -> Result<(), Failure> {
        match self.random.random_range(0..10) {
            0..4 => self.kill_at_work(program, line).await,
            4..8 => self.kill_in_an_act(program, line).await,
            _ => self.kill_in_stop(program, line).await,
        }
    }

    /// Lets clients work, and kills it.
    async fn kill_at_work(&mut self, mut program: Program, line: Line) -> Result<(), Failure> {
        let crowd = self.crowd(&line, CLIENTS);
        let after = WORK.mul_f64(self.random.random());
        pause(after).await;
        crowd.over.cancel();
        self.kill(&mut program, Phase::Work)?;
        crowd.end(&program).await
    }

    /// Asks for one thing beside others, and kills it meanwhile.
    async fn kill_in_an_act(&mut self, mut program: Program, line: Line) -> Result<(), Failure> {
        let (kind, within) = AIMS[self.random.random_range(0..AIMS.len())];
        let after = within.mul_f64(self.slowness() * self.random.random::<f64>());
        let mut crowd = self.crowd(&line, 2);
        // They may have come far before the act is asked.
        pause(Duration::from_millis(self.random.random_range(0..60))).await;
        let mut aimed = self.client(&line);
        crowd.tasks.spawn(async move { Box::pin(aimed.ask(kind)).await });
        pause(after).await;
        crowd.over.cancel();
        self.kill(&mut program, Phase::Aimed(kind))?;
        crowd.end(&program).await
    }

    /// Asks it to stop while clients work, and kills it before it has.
    async fn kill_in_stop(&mut self, mut program: Program, line: Line) -> Result<(), Failure> {
        let crowd = self.crowd(&line, CLIENTS);
        pause(WORK.mul_f64(0.4 * self.random.random::<f64>())).await;
        let after = self.pace.stop.mul_f64(1.1 * self.random.random::<f64>());
        let begun = Clock::System.boottime();
        program.terminate()?;
        pause(after / 3).await;
        crowd.over.cancel();
        pause(after.saturating_sub(Clock::System.boottime().since(begun))).await;
        if program.kill_9()? {
            self.killed(Phase::Stop);
            self.pace.stop = self.pace.stop.mul_f64(1.03);
        } else {
            self.pace.stop = blend(self.pace.stop, after.mul_f64(0.8));
        }
        crowd.end(&program).await
    }

    /// Runs a command in the folder while no server does, and kills it, unless it was quicker.
    async fn kill_a_command(&mut self) -> Result<(), Failure> {
        let Some(Order { name, words, act, change }) = self.order() else { return Ok(()) };
        let within = self.pace.command.max(self.pace.start).mul_f64(1.3);
        let after = within.mul_f64(self.random.random());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut program = self.place.start(&words)?;
        pause(after).await;
        let is_killed = program.kill_9()?;
        let mut book = self.world.book();
        if is_killed {
            self.pace.command = self.pace.command.mul_f64(1.05);
            self.world.count(name, |count| count.lost += 1);
        } else {
            if !program.has_succeeded()? || program.answer()["complete"] == json!(false) {
                return Err(format!("{name}: {}", program.said()).into());
            }
            self.pace.command = blend(self.pace.command, after.mul_f64(0.8));
            self.world.count(name, |count| count.acknowledged += 1);
            book.acknowledged(act)?;
        }
        if let Some((user, kind, number)) = change {
            book.users[user].change(kind, number, act, !is_killed);
        }
        book.died();
        drop(book);
        if is_killed {
            self.killed(Phase::Command);
        }
        Ok(())
    }

    /// Draws a command, and writes it down as asked.
    fn order(&mut self) -> Option<Order> {
        let (chosen, number) = (self.random.random_range(0..12), self.random.random_range(1_000_000..2_000_000));
        let mut book = self.world.book();
        let user = (0..book.users.len()).find(|&at| book.users[at].is_sure());
        let (name, words, scope, change) = match (chosen, user, book.tokens.len()) {
            (0..3, Some(user), _) => {
                let words = vec!["user".to_owned(), "ban".to_owned(), book.users[user].name.clone()];
                ("command: user ban", words, Scope::User(user, None), Some((user, Kind::Ban, number)))
            }
            (3..6, Some(user), _) => {
                let words = ["user", "roles", &book.users[user].name, "--role", &operators::role(number)];
                let change = Some((user, Kind::Roles, number));
                ("command: user roles", words.map(str::to_owned).to_vec(), Scope::Roles(user), change)
            }
            (6..9, _, count @ 1..) => {
                let words = ["revoke", "token", &book.tokens[count - 1].id].map(str::to_owned).to_vec();
                ("command: revoke token", words, Scope::Token(count - 1), None)
            }
            (9, ..) => ("command: migrate", vec!["migrate".to_owned()], Scope::Nothing, None),
            (10, ..) => {
                let words = ["restored", "--yes"].map(str::to_owned).to_vec();
                ("command: restored", words, Scope::Everything, None)
            }
            _ if book.keys.values().filter(|is_retired| !**is_retired).count() < MOST_KEYS => {
                ("command: keys generate", ["keys", "generate"].map(str::to_owned).to_vec(), Scope::Nothing, None)
            }
            _ => return None,
        };
        let act = book.begin(name, scope);
        Some(Order { name, words, act, change })
    }

    pub(crate) fn kill(&mut self, program: &mut Program, phase: Phase) -> Result<(), Failure> {
        if !program.kill_9()? {
            return Err(format!("it ended by itself\n{}", program.said()).into());
        }
        self.killed(phase);
        Ok(())
    }

    /// Counts a kill of another kind.
    pub(crate) fn killed_in(&mut self, name: &str) {
        *self.tally.kills.entry(name.to_owned()).or_default() += 1;
    }

    /// Clients that ask one thing after the other.
    pub(crate) fn crowd(&mut self, line: &Line, clients: usize) -> Crowd {
        let (over, mut tasks) = (CancellationToken::new(), JoinSet::new());
        for _ in 0..clients {
            let (mut client, over) = (self.client(line), over.clone());
            tasks.spawn(async move {
                while !over.is_cancelled() {
                    Box::pin(client.any()).await?;
                }
                Ok(())
            });
        }
        Crowd { over, tasks }
    }

    /// Its own chance.
    pub(crate) const fn draw(&mut self) -> &mut StdRng {
        &mut self.random
    }

    pub(crate) const fn world(&self) -> &Arc<World> {
        &self.world
    }
}

/// A command.
struct Order {
    name: &'static str,
    words: Vec<String>,
    act: usize,
    /// Whose account it changes, how, and to what.
    change: Option<(usize, Kind, u32)>,
}

/// Clients at work.
pub(crate) struct Crowd {
    pub(crate) over: CancellationToken,
    pub(crate) tasks: JoinSet<Result<(), Failure>>,
}

impl Crowd {
    /// Waits until each has its answer, or has heard that there will be none.
    pub(crate) async fn end(mut self, program: &Program) -> Result<(), Failure> {
        self.over.cancel();
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                ended??;
            }
            Ok::<(), Failure>(())
        };
        let ended = timeout(HEARING, all).await.map_err(|_| "clients do not end")?;
        ended.map_err(|error| format!("{error}\nthe process said:\n{}", program.said()).into())
    }
}

/// What is expected next, of what was expected and what came.
fn blend(expected: Duration, came: Duration) -> Duration {
    expected.mul_f64(0.7) + came.mul_f64(0.3)
}

/// To a part of a millisecond, which the runtime's own timer does not give.
pub(crate) async fn pause(time: Duration) {
    let _ = tokio::task::spawn_blocking(move || std::thread::sleep(time)).await;
}
