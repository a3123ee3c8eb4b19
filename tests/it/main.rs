//! The integration tests: the service as its users and operators meet it, over HTTP, the crate's API and the program.

mod support {
    pub(crate) mod ledger;
    pub(crate) mod postgres;
    pub(crate) mod proxy;
}

mod contract_accounts;
mod contract_ledger;
mod postgres_outages;
mod two_nodes;
