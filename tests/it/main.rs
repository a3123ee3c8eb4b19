//! The integration tests: the service as its users and operators meet it, over HTTP, the crate's API and the program.

mod support {
    pub(crate) mod ledger;
    pub(crate) mod postgres;
}

mod contract_ledger;
