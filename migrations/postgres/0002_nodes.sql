-- What lets a revocation know that every node has it.

ALTER TABLE head
    -- The server that the ledger lives on. Another one has taken over when a node meets another name here.
    ADD COLUMN server   text   NOT NULL DEFAULT '',
    -- Whether the server named above has been in charge for longer than any node can hold from before it.
    ADD COLUMN settled  boolean NOT NULL DEFAULT true,
    -- ms: the longest hold that any node has ever had
    ADD COLUMN max_hold bigint NOT NULL DEFAULT 0;

-- The nodes that may say "not revoked". A revocation waits for each.
CREATE TABLE nodes (
    id         uuid   NOT NULL PRIMARY KEY,   -- random, new at every start and every registration
    beat       bigint NOT NULL DEFAULT 0,     -- raised by every renewal
    applied    bigint NOT NULL,               -- the last number this node has in its filter, as of its last renewal
    hold       bigint NOT NULL,               -- ms: how long it may go on after a renewal
    name       text   NOT NULL DEFAULT '',    -- for people
    started_at bigint NOT NULL
);
