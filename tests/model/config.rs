//! How large a model is: who takes part, what goes wrong, and how often.

use std::time::Duration;

use kickout::{clock::BootInstant, revocation::lease};

use crate::{rules::Misreading, term::Lease};

/// How many ticks ago something was. It stops growing where nothing is asked any more.
pub type Age = u8;

/// The moment at which a model always is: everything that was read is so long before it.
const NOW: BootInstant = BootInstant::from_nanos(1_000_000_000_000);

/// A hold as it ships.
pub const HOLD: u16 = 10_000;

/// Clocks that go a tenth too slow, right, and a tenth too fast, in tenths.
pub const SLOW: u8 = 9;
pub const FAST: u8 = 11;

/// How a node begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// The process has just begun.
    Cold,
    /// It is registered, and has not renewed yet.
    Live,
}

/// One node.
#[derive(Debug, Clone, Copy)]
pub struct Who {
    pub begin: Begin,
    /// How fast its clock goes, in tenths.
    pub rate: u8,
    /// How long it goes on after a renewal, in milliseconds.
    pub hold: u16,
    /// Whether it renews. One that does not has no row, and takes requests only.
    pub renews: bool,
    /// Whether its renewals are taken apart into their steps, with time in between. Else each is one step.
    pub fine: bool,
    /// Whether it looks after the others: expels them, and lets a server settle.
    pub looks: bool,
}

/// One request to revoke a token, at a node.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    pub token: u8,
    pub node: usize,
}

/// The size of one model.
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that may go wrong, or not")]
#[derive(Debug, Clone)]
pub struct Config {
    pub nodes: Vec<Who>,
    pub requests: Vec<Request>,
    /// Whether each request comes after the one before is committed.
    pub in_turn: bool,
    pub tick_ms: u64,
    /// Whether rows reach nodes by pushes, at any time after.
    pub pushes: bool,
    /// Whether nodes say what they have applied, beside what their rows say.
    pub acks: bool,
    /// Whether requests and answers of renewals get lost; what is lost on the way may yet arrive.
    pub losses: bool,
    /// How often a node may register.
    pub incarnations: u8,
    pub crashes: u8,
    pub stops: u8,
    /// How often a server takes over, or a backup is restored, that may have less.
    pub failovers: u8,
    /// Whether the standby has what there was at the beginning. Else it is copied at any time.
    pub is_copied: bool,
    /// How often the server is started again, and has everything.
    pub restarts: u8,
    /// Whether what a lost server has said may arrive long after another one took over.
    pub late_news: bool,
    /// Which node somebody asks how far the last revocation has come.
    pub progress: Option<usize>,
    /// Whose checks are taken apart into their steps.
    pub slow_checks: Option<usize>,
    pub wrong: Option<Misreading>,
}

/// A tick after which a slow clock still lets its node go on, by a hair (11.1 s × 0.9 < 10 s), while a fast one has not
/// waited long enough, by little (11.1 s × 1.1 < 12.75 s). The coarsest that tells a right wait from a wrong one.
const TICK_MS: u64 = 11_100;

impl Config {
    /// Nothing goes wrong: a writer with a fast clock that is a node, too, and others with slow ones.
    pub fn of(nodes: usize) -> Self {
        let who = |i| Who {
            begin: Begin::Live,
            rate: if i == 0 { FAST } else { SLOW },
            hold: HOLD,
            renews: true,
            fine: false,
            looks: i == 0,
        };
        Self {
            nodes: (0..nodes).map(who).collect(),
            requests: vec![Request { token: 0, node: 0 }],
            in_turn: false,
            tick_ms: TICK_MS,
            pushes: false,
            acks: true,
            losses: false,
            incarnations: 1,
            crashes: 0,
            stops: 0,
            failovers: 0,
            is_copied: false,
            restarts: 0,
            late_news: false,
            progress: None,
            slow_checks: None,
            wrong: None,
        }
    }

    /// Whether a node ever judges what others say.
    pub fn judges(&self, node: usize) -> bool {
        self.progress == Some(node) || self.requests.iter().any(|request| request.node == node)
    }

    pub fn is(&self, wrong: Misreading) -> bool {
        self.wrong == Some(wrong)
    }

    /// From here on an age is not told apart from a higher one: every wait and every lease is over by the slowest clock.
    /// A check that is under way is compared with what is older, so it needs as much again.
    pub fn oldest(&self) -> Age {
        if self.slow_checks.is_some() || self.is(Misreading::CoarseClock) { 2 * self.over() } else { self.over() }
    }

    /// After so many ticks every wait and every lease is over by every clock.
    pub fn over(&self) -> Age {
        let hold = self.nodes.iter().map(|who| who.hold).max().unwrap_or(HOLD);
        let slowest = self.nodes.iter().map(|who| who.rate).min().unwrap_or(SLOW);
        (1..Age::MAX).find(|&age| self.elapsed_at(slowest, age) >= lease::wait(ms(hold))).unwrap_or(Age::MAX)
    }

    fn elapsed_at(&self, rate: u8, age: Age) -> Duration {
        Duration::from_micros(self.tick_ms * u64::from(age) * u64::from(rate) * 100)
    }

    /// What a node's clock says has passed.
    pub fn elapsed(&self, node: usize, age: Age) -> Duration {
        self.elapsed_at(self.nodes[node].rate, age)
    }

    /// Whether a lease that counts from `t0` is valid at a reading of the clock, by the very code that ships.
    pub fn is_valid(&self, node: usize, t0: Age, read: Age) -> bool {
        let at = |age| BootInstant::from_nanos(NOW.as_nanos() - nanos(self.elapsed(node, age)));
        let lease = Lease::none();
        lease.extend(at(t0) + ms(self.nodes[node].hold));
        lease.is_valid(at(read))
    }

    /// Whether a writer has waited long enough for a node with this hold, by the very function that ships.
    pub fn has_waited(&self, node: usize, since: Age, hold: u16) -> bool {
        let own = ms(self.nodes[node].hold);
        let wait = match self.wrong {
            Some(Misreading::WaitForAll) => return false,
            Some(Misreading::NoDrift) => ms(hold),
            Some(Misreading::TooLittleDrift) => ms(hold) * 6 / 5,
            Some(Misreading::OwnHold) => lease::wait(own),
            _ => lease::wait(ms(hold)),
        };
        self.elapsed(node, since) >= wait
    }

    /// When something was, for the shipped code that is asked.
    pub fn instant(&self, node: usize, age: Age) -> BootInstant {
        BootInstant::from_nanos(NOW.as_nanos() - nanos(self.elapsed(node, age)))
    }
}

pub fn ms(ms: u16) -> Duration {
    Duration::from_millis(u64::from(ms))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the model cannot say of every hold: a node whose clock is a tenth too slow has stopped before a writer whose
    /// clock is a tenth too fast goes on.
    #[test]
    fn the_wait_outlasts_every_hold_by_the_slowest_clock() {
        for hold in (0..3_600_000).step_by(37).map(Duration::from_millis) {
            assert!(lease::wait(hold) * u32::from(SLOW) > hold * u32::from(FAST), "{hold:?}");
        }
    }
}
