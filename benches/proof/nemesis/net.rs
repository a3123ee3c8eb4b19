//! A network of a node's own: a namespace that one pair of interfaces connects to this one. What goes by it are real
//! packets, and they can really be lost: the interface goes down, or an address is at an interface that is not there,
//! one way or the other, and nobody is told.
//!
//! Only root can make one. Names carry this process's id: what is left of a process that is no more is taken away by
//! the next run.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::Path,
    process::{Command, Stdio},
};

use clap::ValueEnum;

/// Where the kernel's tools keep the names of namespaces.
const NAMES: &str = "/run/netns";

const PREFIX: &str = "kickout-";

/// Networks that processes of this machine can have at once: 4 addresses each, of 198.18.0.0/15, which is for tests
/// of networks and nobody's own.
const NETWORKS: u32 = 1 << 15;

/// An interface that is not there.
const NOBODY: &str = "02:00:00:00:00:01";

/// What lies between the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Between {
    /// Proxies, which lose bytes of connections.
    Proxy,
    /// Proxies, and a network of its own for each node, which loses packets.
    Netns,
    /// The second if it can be had.
    Auto,
}

/// How a node's whole network fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Loss {
    /// The interface is down.
    Down,
    /// The node hears nothing.
    Deaf,
    /// Nobody hears the node.
    Mute,
    /// Both.
    Both,
}

/// A network. It is taken away when this is dropped.
#[derive(Debug)]
pub(super) struct Net {
    name: String,
    /// Our end, and the node's.
    outer: String,
    inner: String,
    subnet: u32,
}

impl Net {
    /// One for a node.
    pub(super) fn new(number: u8) -> Result<Self, String> {
        let process = std::process::id();
        let net = Self {
            name: format!("{PREFIX}{process}-{number}"),
            outer: format!("ko{process:x}h{number}"),
            inner: format!("ko{process:x}n{number}"),
            subnet: (process.wrapping_mul(8) + u32::from(number)) % NETWORKS,
        };
        ip(&format!("netns add {}", net.name))?;
        ip(&format!("link add {} type veth peer name {} netns {}", net.outer, net.inner, net.name))?;
        ip(&format!("addr add {}/30 dev {}", net.host(), net.outer))?;
        ip(&format!("link set {} up", net.outer))?;
        net.inside(&format!("addr add {}/30 dev {}", net.node(), net.inner))?;
        net.inside(&format!("link set {} up", net.inner))?;
        net.inside("link set lo up")?;
        Ok(net)
    }

    /// Whether there can be one here that connections go through: a firewall may be in their way.
    pub(super) fn can_be_had() -> Result<(), String> {
        let net = Self::new(u8::MAX)?;
        let listener = TcpListener::bind((net.host(), 0)).map_err(|error| error.to_string())?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        let connects = format!("exec 3<>/dev/tcp/{}/{port}", net.host());
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &net.name, "timeout", "5", "bash", "-c", &connects]);
        let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(format!("no connection goes through a network of a node's own: {said}"))
    }

    fn address(&self, host: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + 4 * self.subnet + host))
    }

    /// Where a node reaches its stores: at this end.
    pub(super) fn host(&self) -> IpAddr {
        self.address(1)
    }

    /// Where a node is reached.
    pub(super) fn node(&self) -> IpAddr {
        self.address(2)
    }

    /// What starts a program in there; it becomes that program.
    pub(super) fn wrapper(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].map(str::to_owned).into()
    }

    fn inside(&self, arguments: &str) -> Result<(), String> {
        ip(&format!("-n {} {arguments}", self.name))
    }

    /// Packets are lost from now on.
    pub(super) fn loses(&self, loss: Loss) -> Result<(), String> {
        if loss == Loss::Down {
            return ip(&format!("link set {} down", self.outer));
        }
        if loss != Loss::Mute {
            ip(&format!("neigh replace {} lladdr {NOBODY} dev {} nud permanent", self.node(), self.outer))?;
        }
        if loss != Loss::Deaf {
            let wrong = format!("neigh replace {} lladdr {NOBODY} dev {} nud permanent", self.host(), self.inner);
            self.inside(&wrong)?;
        }
        Ok(())
    }

    /// It works, whatever it did.
    pub(super) fn works(&self) -> Result<(), String> {
        ip(&format!("link set {} up", self.outer))?;
        // There may be no such entry: then it is right already.
        let _ = ip(&format!("neigh del {} dev {}", self.node(), self.outer));
        let _ = self.inside(&format!("neigh del {} dev {}", self.host(), self.inner));
        Ok(())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // The node's end goes with ours.
        let _ = ip(&format!("link del {}", self.outer));
        let _ = ip(&format!("netns del {}", self.name));
    }
}

/// Takes away what processes have left that are no more.
pub(super) fn sweep() {
    for entry in fs::read_dir(NAMES).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).map(|(process, _)| process);
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            // Its interfaces go with it, if nothing runs in there any more.
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let mut command = Command::new("ip");
    let output = command.args(arguments.split(' ')).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("ip(8): {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
