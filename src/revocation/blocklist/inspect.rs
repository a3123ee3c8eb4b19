//! Whether a server will do, looked at once, when it is opened.

use deadpool_redis::redis::{Cmd, ErrorKind, ServerErrorKind, Value, aio::MultiplexedConnection, cmd, pipe};

use crate::ids::DeploymentId;

use super::BlocklistError;

/// The oldest version that is supported: its users have rules for channels (ACL), which acknowledgements rest on.
const OLDEST: (u32, u32) = (6, 2);

/// Refuses a server that this version does not work with. Returns what whoever operates it should know.
pub(super) async fn server(connection: &mut MultiplexedConnection) -> Result<Vec<String>, BlocklistError> {
    match cmd("INFO").query_async::<String>(connection).await {
        Ok(info) => judge(&info),
        // Looks and publishes need none of it, and a replica or a cluster says so itself when the marker is set.
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => Ok(vec![
            "this user of Redis may not ask for INFO: what the server is was not looked at. Allow it by +info, or see \
             to it that it is a primary of version 6.2 or newer"
                .to_owned(),
        ]),
        Err(error) => Err(error.into()),
    }
}

fn judge(info: &str) -> Result<Vec<String>, BlocklistError> {
    let field = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim).unwrap_or_default()
    };
    let mut warnings = Vec::new();
    let shown = field("redis_version");
    match version(shown) {
        Some(version) if version < OLDEST => {
            return Err(BlocklistError::Unsupported {
                found: format!("its version is {shown}"),
                remedy: "Use Redis 6.2 or newer",
            });
        }
        Some(_) => {}
        None => warnings.push("Redis does not say its version; 6.2 or newer is needed".to_owned()),
    }
    if field("cluster_enabled") == "1" || field("redis_mode") == "cluster" {
        return Err(BlocklistError::cluster());
    }
    if field("redis_mode") == "sentinel" {
        return Err(BlocklistError::Unsupported {
            found: "it is a Sentinel".to_owned(),
            remedy: "Name the primary that it watches in redis.url",
        });
    }
    if field("role") == "slave" {
        return Err(BlocklistError::replica());
    }
    let policy = field("maxmemory_policy");
    if !["", "noeviction"].contains(&policy) {
        warnings.push(format!(
            "Redis evicts entries when its memory is full (maxmemory-policy {policy}). That costs looks in the ledger \
             and no revocation; with noeviction it would not"
        ));
    }
    Ok(warnings)
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

/// Sets the marker that says whose prefix this is, if there is none.
pub(super) fn mark(prefix: &str, deployment: DeploymentId) -> Cmd {
    let mut set = cmd("SET");
    set.arg(marker(prefix)).arg(deployment.to_string()).arg("NX");
    set
}

/// Sets the marker, or finds out whose it is.
pub(super) async fn claim(
    connection: &mut MultiplexedConnection,
    prefix: &str,
    deployment: DeploymentId,
) -> Result<(), BlocklistError> {
    // In one transaction, so that it cannot be evicted in between.
    let mut both = pipe();
    both.atomic().add_command(mark(prefix, deployment)).ignore().cmd("GET").arg(marker(prefix));
    let (found,): (Value,) = both.query_async(connection).await?;
    if found == Value::BulkString(deployment.to_string().into_bytes()) {
        return Ok(());
    }
    Err(BlocklistError::Foreign { prefix: prefix.to_owned() })
}

fn marker(prefix: &str) -> String {
    format!("{prefix}:deployment")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n\
                        # Replication\r\nrole:master\r\n# Cluster\r\ncluster_enabled:0\r\n";

    #[test]
    fn a_server_is_judged_by_what_it_says_of_itself() {
        assert_eq!(judge(GOOD), Ok(Vec::new()));
        for (line, other, said) in [
            ("redis_version:7.0.15", "redis_version:6.0.16", "its version is 6.0.16"),
            ("redis_version:7.0.15", "redis_version:5.9", "Use Redis 6.2 or newer"),
            ("cluster_enabled:0", "cluster_enabled:1", "Redis Cluster"),
            ("redis_mode:standalone", "redis_mode:sentinel", "Sentinel"),
            ("role:master", "role:slave", "it is a replica. Name its primary"),
        ] {
            let refused = judge(&GOOD.replace(line, other)).unwrap_err().to_string();
            assert!(refused.contains(said), "{other}: {refused}");
        }
        for version in ["redis_version:6.2.0", "redis_version:10.0.1"] {
            assert_eq!(judge(&GOOD.replace("redis_version:7.0.15", version)), Ok(Vec::new()), "{version}");
        }
        let warned = judge(&GOOD.replace("noeviction", "volatile-ttl")).unwrap();
        assert!(warned[0].contains("volatile-ttl") && warned[0].contains("no revocation"), "{warned:?}");
        assert!(judge("").unwrap()[0].contains("version"));
    }
}
