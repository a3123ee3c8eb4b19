//! How much a run does, and which cores its processes have.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use crate::Failure;

/// What the command line asks for.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    /// Few of everything, for the answers only.
    pub(crate) is_smoke: bool,
    /// Rounds of each comparison.
    pub(crate) rounds: usize,
    /// Of a turn at the base point.
    pub(crate) window: Duration,
    /// Numbers of live revocations.
    pub(crate) live: Vec<u64>,
    /// Of the load only these axes; all if there are none.
    pub(crate) axes: Vec<String>,
    /// What the workload follows from.
    pub(crate) seed: u64,
    pub(crate) pins: Pins,
}

/// Where processes may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pins {
    /// The core that nodes have to themselves; `None` where processes are not pinned.
    pub(crate) node: Option<String>,
}

impl Pins {
    /// Puts this process, and with it all servers that it starts, on the other cores, and leaves the first one to nodes.
    /// To be called before there are threads.
    pub(crate) fn take() -> Result<Self, Failure> {
        let cores = std::thread::available_parallelism()?.get();
        if cores < 2 {
            return Ok(Self::none());
        }
        let others = if cores == 2 { "1".to_owned() } else { format!("1-{}", cores - 1) };
        let pid = std::process::id().to_string();
        let moved = Command::new("taskset").args(["-a", "-c", "-p", &others, &pid]).stdout(Stdio::null()).status()?;
        if !moved.success() {
            return Err(format!("taskset does not move this process to cores {others}").into());
        }
        Ok(Self { node: Some("0".to_owned()) })
    }

    /// Processes run wherever the kernel puts them.
    pub(crate) const fn none() -> Self {
        Self { node: None }
    }

    /// For the report.
    pub(crate) fn describe(&self) -> String {
        match &self.node {
            Some(core) => format!(
                "nodes share core {core} alone, so each has one worker thread; generator, proxies, Redis and PostgreSQL \
                 share the other cores"
            ),
            None => "not pinned".to_owned(),
        }
    }

    /// A program on the core of nodes.
    pub(crate) fn command(&self, program: &str) -> Command {
        match &self.node {
            // It becomes the program: the process id is the program's own.
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", core, program]);
                command
            }
            None => Command::new(program),
        }
    }
}
