-- What nodes share and the database must not know: the server's secret and the signing keys, each encrypted under the
-- configured key, with its name as part of what is authenticated.
CREATE TABLE vault (
    name   text  NOT NULL PRIMARY KEY,
    sealed bytea NOT NULL
);
