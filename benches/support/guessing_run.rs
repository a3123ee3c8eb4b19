//! A service, and logins that it refuses.

use std::{net::SocketAddr, net::TcpListener, sync::Arc, time::Duration};

use kickout::{
    admin::{Answer, Command},
    app::{App, Listeners},
    clock::Clock,
    config::Config,
    instance::DataFolder,
    lifecycle::{Shutdown, Tasks},
    secret,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{
    guessing_report::{Planned, Report, Run},
    guessing_statistics,
    machine::Machine,
};
use crate::Failure;

/// What the management listener asks for.
const ADMIN_TOKEN: &str = "an-operator-in-this-benchmark-only";

/// Right for every account, and asked with none.
const PASSWORD: &str = "lantern-otter-quartz-mosaic";
const WRONG: &str = "harbour-violet-anvil-thicket";

/// Longer than any password may be, and than what is looked at (1024 bytes).
const TOO_LONG_CHARS: usize = 2000;

/// How long the service may take to stop.
const STOP: Duration = Duration::from_secs(10);

/// Why a login is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// A known name, and a password that is not theirs.
    WrongPassword,
    /// A name that nobody has.
    UnknownName,
    /// A banned user's name, and a password that is not theirs.
    Banned,
    /// A name that nobody can have.
    ImpossibleName,
    /// A known name, and a password that nobody can have.
    TooLong,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] =
        [Self::WrongPassword, Self::UnknownName, Self::Banned, Self::ImpossibleName, Self::TooLong];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::WrongPassword => "known name, wrong password",
            Self::UnknownName => "unknown name",
            Self::Banned => "banned user, wrong password",
            Self::ImpossibleName => "impossible name",
            Self::TooLong => "known name, too long a password",
        }
    }

    /// A login of this kind. All names are of the same length.
    fn body(self, accounts: usize) -> String {
        let drawn = usize::from(u16::from_le_bytes(secret::random()));
        let (known, banned, unknown) = (drawn % accounts, 1000 + drawn % accounts, 2000 + drawn % 8000);
        let (name, password) = match self {
            Self::WrongPassword => (name(known), WRONG.to_owned()),
            Self::UnknownName => (name(unknown), WRONG.to_owned()),
            Self::Banned => (name(banned), WRONG.to_owned()),
            Self::ImpossibleName => (name(unknown).replace('-', " "), WRONG.to_owned()),
            Self::TooLong => (name(known), "x".repeat(TOO_LONG_CHARS)),
        };
        serde_json::json!({ "username": name, "password": password }).to_string()
    }
}

fn name(number: usize) -> String {
    format!("user-{number:04}")
}

/// How much a run does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Blocks, one at a time; and as many by several callers.
    blocks: usize,
    callers: usize,
    /// Known users, and banned ones.
    accounts: usize,
    /// Blocks of each caller that do not count: connections are made, statements prepared, memory had.
    warm_up: usize,
}

impl Plan {
    /// Everything. Twice as many callers as two workers have room for, so that there is always one that waits.
    pub(crate) const fn full(blocks: usize) -> Self {
        Self { blocks, callers: 4, accounts: 50, warm_up: 20 }
    }

    /// The same way once through, for its answers only.
    pub(crate) const fn smoke() -> Self {
        Self { blocks: 4, callers: 2, accounts: 2, warm_up: 1 }
    }
}

/// A service in this process, with its listeners.
struct Service {
    address: SocketAddr,
    shutdown: Shutdown,
    serving: JoinSet<Result<(), String>>,
    config: Config,
    _folder: TempDir,
}

impl Service {
    async fn start(accounts: usize) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let config = settings(&folder);
        let data = DataFolder::open(&config.data_dir)?;
        let listeners = Listeners { public: listener()?, management: listener()? };
        let address = listeners.public.local_addr()?;
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        let app = App::build(config.clone(), Clock::System, data).await?;
        app.start(&tasks).await?;
        for number in (0..accounts).chain(1000..1000 + accounts) {
            app.sessions().create_user(&name(number), PASSWORD.to_owned().into(), &[]).await?;
        }
        let admin = app.admin();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            app.serve(listeners, tasks, ADMIN_TOKEN.to_owned()).await.map_err(|error| error.to_string())
        });
        for number in 1000..1000 + accounts {
            match admin.run(Command::UserBan { user: name(number) }).await {
                Ok(Answer::Receipt(receipt)) if receipt.complete => {}
                other => return Err(format!("a ban: {other:?}").into()),
            }
        }
        Ok(Self { address, shutdown, serving, config, _folder: folder })
    }

    async fn stop(mut self) -> Result<(), Failure> {
        self.shutdown.drain();
        let ended = tokio::time::timeout(STOP, self.serving.join_next()).await?;
        Ok(ended.ok_or("it was not running")???)
    }
}

/// As it is shipped, but without limits of tries: who has thousands of them is what is measured.
fn settings(folder: &TempDir) -> Config {
    let mut config = Config { data_dir: folder.path().join("data"), ..Config::default() };
    config.limits.logins_per_address = 0;
    config.limits.wrong_per_address = 0;
    config.limits.wrong_per_account = 0;
    config.limits.wrong_before_slow = 0;
    config
}

fn listener() -> Result<TcpListener, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Times in microseconds, by kind and block.
type Times = [Vec<u32>; Kind::ALL.len()];

/// Somebody who guesses, on a connection of their own.
struct Caller {
    http: reqwest::Client,
    url: String,
    clock: Clock,
    /// What every answer must be like: the first one.
    expected: Option<Arc<Seen>>,
    accounts: usize,
}

/// What a client sees of an answer, but for what names the request and its time.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: String,
}

impl Caller {
    fn new(service: &Service, accounts: usize) -> Result<Self, Failure> {
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(1).build()?;
        let url = format!("http://{}/v1/auth/login", service.address);
        Ok(Self { http, url, clock: Clock::System, expected: None, accounts })
    }

    async fn blocks(mut self, warm_up: usize, blocks: usize) -> Result<Times, Failure> {
        let mut times = Times::default();
        for block in 0..warm_up + blocks {
            let mut order: Vec<usize> = (0..Kind::ALL.len()).collect();
            // Fisher and Yates.
            for last in (1..order.len()).rev() {
                order.swap(last, usize::from(u16::from_le_bytes(secret::random())) % (last + 1));
            }
            for kind in order {
                let took = self.login(Kind::ALL[kind]).await?;
                if block >= warm_up {
                    times[kind].push(u32::try_from(took.as_micros())?);
                }
            }
        }
        Ok(times)
    }

    async fn login(&mut self, kind: Kind) -> Result<Duration, Failure> {
        let request = self.http.post(&self.url).header("content-type", "application/json");
        let request = request.body(kind.body(self.accounts)).build()?;
        let since = self.clock.boottime();
        let response = self.http.execute(request).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await?;
        let took = self.clock.boottime().since(since);

        let named = |name: &str| name != "x-request-id" && name != "date";
        let kept = headers.iter().filter(|(name, _)| named(name.as_str()));
        let headers = kept.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
        let seen = Seen { status, headers, body: String::from_utf8_lossy(&body).into_owned() };
        if seen.status != 401 || !seen.body.contains("urn:kickout:problem:credentials-invalid") {
            return Err(format!("{}: {seen:?}", kind.name()).into());
        }
        let expected = self
            .expected
            .get_or_insert_with(|| Arc::new(Seen { headers: seen.headers.clone(), body: seen.body.clone(), ..seen }));
        if **expected != seen {
            return Err(format!("{}: {seen:?} instead of {expected:?}", kind.name()).into());
        }
        Ok(took)
    }
}

/// Runs a plan. `progress` is told of each step when its answers were found right.
pub(crate) async fn measure(
    plan: &Plan,
    mut progress: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<Report, Failure> {
    guessing_statistics::check()?;
    progress("the statistics find a difference, and none")?;
    let begun = Clock::System.boottime();
    let machine = Machine::look(&Clock::System);
    let service = Box::pin(Service::start(plan.accounts)).await?;
    let mut runs = Vec::new();
    for callers in [1, plan.callers] {
        let mut guessing = JoinSet::new();
        for _ in 0..callers {
            let caller = Caller::new(&service, plan.accounts)?;
            guessing.spawn(caller.blocks(plan.warm_up, plan.blocks.div_ceil(callers)));
        }
        let mut times = Times::default();
        while let Some(done) = guessing.join_next().await {
            for (all, new) in times.iter_mut().zip(done??) {
                all.extend(new);
            }
        }
        runs.push(Run::of(callers, &times));
        progress(&format!("{callers} at a time: every refused login gets the same answer"))?;
    }
    let passwords = &service.config.passwords;
    let plan = Planned {
        blocks: plan.blocks,
        accounts: plan.accounts,
        memory_kib: passwords.memory_kib,
        iterations: passwords.iterations,
        parallelism: passwords.parallelism,
    };
    service.stop().await?;
    let took_seconds = Clock::System.boottime().since(begun).as_secs_f64();
    Ok(Report { machine, plan, runs, took_seconds })
}
