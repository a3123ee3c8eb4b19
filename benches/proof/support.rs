//! What the integration tests start and speak with.

#[path = "../../tests/it/support/answer.rs"]
pub(crate) mod answer;
#[path = "../../tests/it/support/chaos.rs"]
pub(crate) mod chaos;
#[path = "../../tests/it/support/client.rs"]
pub(crate) mod client;
#[path = "../../tests/it/support/cluster.rs"]
pub(crate) mod cluster;
#[path = "../../tests/it/support/mutants.rs"]
pub(crate) mod mutants;
#[path = "../../tests/it/support/operator.rs"]
pub(crate) mod operator;
#[path = "../../tests/it/support/postgres.rs"]
pub(crate) mod postgres;
#[path = "../../tests/it/support/process.rs"]
pub(crate) mod process;
#[path = "../../tests/it/support/redis.rs"]
pub(crate) mod redis;
#[path = "../../tests/it/support/system.rs"]
pub(crate) mod system;
#[path = "../../tests/it/support/wait.rs"]
pub(crate) mod wait;
