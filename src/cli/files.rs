//! Open files: each connection is one, and a system that grants too few of them refuses connections before we do.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{app::OTHER_CONNECTIONS, config::Config};

/// Besides connections: two listeners, the database (10 connections; with SQLite 5, of three files each), Redis (5), the
/// data folder, the log, the runtime's own, files that are read for a moment. These are some 40; and twice as many to
/// spare.
const OTHERS: u64 = 128;

/// Raises the soft limit of open files to what the configuration needs, as far as the hard one permits. Says what to do
/// if that is not enough.
pub(super) fn make_room(config: &Config) -> Option<String> {
    let needed = needed(config.http.max_connections);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = raised(needed, current, maximum)?;
    let granted = match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
        Ok(()) => wanted,
        Err(_) => current.unwrap_or(u64::MAX),
    };
    (granted < needed).then(|| {
        format!(
            "http.max_connections is {}, which takes {needed} open files, and the system grants {granted}. Raise the hard \
             limit (ulimit -Hn, LimitNOFILE= in systemd), or lower http.max_connections",
            config.http.max_connections
        )
    })
}

fn needed(connections: usize) -> u64 {
    u64::try_from(connections + OTHER_CONNECTIONS).unwrap_or(u64::MAX).saturating_add(OTHERS)
}

/// What the soft limit should be; `None` if it is high enough. No limit is `None`, too.
fn raised(needed: u64, current: Option<u64>, maximum: Option<u64>) -> Option<u64> {
    current.filter(|current| *current < needed)?;
    Some(maximum.map_or(needed, |maximum| maximum.min(needed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_what_is_needed_and_never_lowered() {
        assert_eq!(needed(4096), 4096 + 64 + 128 + 128);
        assert_eq!(raised(4416, Some(1024), Some(524_288)), Some(4416));
        assert_eq!(raised(4416, Some(1024), None), Some(4416));
        assert_eq!(raised(4416, Some(1024), Some(4096)), Some(4096), "as far as it goes");
        assert_eq!(raised(4416, Some(524_288), Some(524_288)), None);
        assert_eq!(raised(4416, None, None), None);
    }
}
