//! A full disk under the database: writes are refused, checks go on, nothing that was acknowledged is lost, and when
//! there is room again it works again.
//!
//! The disk is a small file system in memory, which only root may mount. It hangs on a shell that holds the other end of a
//! pipe from this process: however this process ends, the shell unmounts it.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use kickout::clock::Clock;
use tempfile::TempDir;
use tokio::time::sleep;

use super::{
    acts::Kind,
    life::{Life, Phase, Tally},
    service::{Line, Place},
    verify::Depth,
};
use crate::Failure;

const KEEPER: &str = r#"
trap '' INT TERM HUP
mount -t tmpfs -o size=16m,mode=700 kickout-proof "$1" || exit 1
echo mounted
read -r word
umount -l "$1"
"#;

/// Refused writes that are enough.
const REFUSALS: u64 = 20;

/// How long it may take until a full disk is felt, and until its end is.
const PATIENCE: Duration = Duration::from_mins(1);

/// A small disk.
#[derive(Debug)]
struct Disk {
    folder: TempDir,
    keeper: Child,
    pipe: Option<ChildStdin>,
}

impl Disk {
    /// `None` where this user may not mount anything.
    fn mount() -> Result<Option<Self>, Failure> {
        if fs::metadata("/proc/self")?.uid() != 0 {
            return Ok(None);
        }
        let folder = tempfile::Builder::new().prefix("kickout-disk-").tempdir()?;
        let mut keeper = Command::new("/bin/sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let pipe = keeper.stdin.take();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().ok_or("no pipe")?).read_line(&mut line)?;
        let disk = Self { folder, keeper, pipe };
        // A container's root may not mount anything either.
        Ok((line.trim() == "mounted").then_some(disk))
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }

    /// Leaves no byte.
    fn fill(&self) -> Result<(), Failure> {
        let mut file = File::options().create(true).append(true).open(self.ballast())?;
        for size in [1 << 16, 1 << 12, 1] {
            let block = vec![0_u8; size];
            loop {
                match file.write_all(&block) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn free(&self) -> Result<(), Failure> {
        Ok(fs::remove_file(self.ballast())?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.pipe.take();
        let _ = self.keeper.wait();
    }
}

/// Whether it could be done here; with what came of it.
pub(super) async fn run(seed: u64, number: u64) -> Result<Option<Tally>, Failure> {
    let Some(disk) = Disk::mount()? else { return Ok(None) };
    let home = Life::new(Place::on(&disk.folder.path().join("data"))?, seed, number);
    Box::pin(live(home, &disk)).await.map(Some)
}

async fn live(mut home: Life, disk: &Disk) -> Result<Tally, Failure> {
    let (mut program, mut line) = home.start(Depth::Some).await?;
    for is_killed in [false, true, false] {
        let crowd = home.crowd(&line, 3);
        sleep(Duration::from_millis(300)).await;
        disk.fill()?;
        let felt = feels(&mut home, &line).await;
        crowd.end(&program).await?;
        felt?;
        home.world().tally("checks while the disk was full");
        if is_killed {
            home.kill(&mut program, Phase::Work)?;
            home.world().book().died();
            starts_or_says_why(&home.place).await?;
            disk.free()?;
            (program, line) = home.start(Depth::All).await?;
        } else {
            disk.free()?;
            works_again(&mut home, &line).await?;
            // What was refused may have happened all the same; that is known when the process is gone.
            home.stop(program).await?;
            home.world().book().died();
            (program, line) = home.start(Depth::All).await?;
        }
    }
    home.stop(program).await?;
    Ok(home.end())
}

/// Waits until writes are refused, while checks are answered.
async fn feels(home: &mut Life, line: &Line) -> Result<(), Failure> {
    let begun = Clock::System.boottime();
    let unavailable = |home: &Life| -> u64 { home.world().counts().values().map(|count| count.unavailable).sum() };
    let before = unavailable(home);
    let mut client = home.client(line);
    while unavailable(home) < before + REFUSALS {
        let checks = home.world().counts().get("check").map_or(0, |count| count.unavailable);
        if checks > 0 {
            return Err("a check is refused because the disk is full".into());
        }
        if Clock::System.boottime().since(begun) > PATIENCE {
            return Err("a full disk is not felt".into());
        }
        Box::pin(client.ask(Kind::Check)).await?;
    }
    Ok(())
}

/// Waits until a write is acknowledged again, without a new start.
async fn works_again(home: &mut Life, line: &Line) -> Result<(), Failure> {
    let begun = Clock::System.boottime();
    let done = |home: &Life| home.world().counts().get("signup").map_or(0, |count| count.acknowledged);
    let before = done(home);
    let mut client = home.client(line);
    while done(home) == before {
        if Clock::System.boottime().since(begun) > PATIENCE {
            return Err("it does not work again".into());
        }
        Box::pin(client.ask(Kind::SignUp)).await?;
    }
    Ok(())
}

/// On a full disk it starts, or ends with a word on what is wrong.
async fn starts_or_says_why(place: &Place) -> Result<(), Failure> {
    let mut program = place.start(&[])?;
    if let Err(error) = program.ready().await {
        let said = program.said();
        if program.kill_9()? {
            return Err(format!("on a full disk: {error}").into());
        }
        let names_it = ["full", "No space left"].iter().any(|word| said.contains(word));
        if !names_it || said.contains("panicked") {
            return Err(format!("on a full disk it does not say what is wrong: {said}").into());
        }
    }
    program.kill_9()?;
    Ok(())
}
