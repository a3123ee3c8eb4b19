-- Times are milliseconds of ledger time since 1970; ids are 16 bytes. Every table is STRICT, so that a value of a
-- wrong type is an error at the write and not at some later read.

-- The ledger's head: one row. Its counter is taken last in every revoking transaction.
CREATE TABLE head (
    one                INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    ledger             BLOB    NOT NULL CHECK (length(ledger) = 16),  -- `epoch` in tokens: one life of this ledger
    seq                INTEGER NOT NULL DEFAULT 0,                    -- of the last transaction
    tag                INTEGER NOT NULL,                              -- of the last transaction, random
    clock              INTEGER NOT NULL,                              -- ledger time reached; a start goes on from here
    floor              INTEGER NOT NULL DEFAULT 0,                    -- tokens of a generation below this are dead
    highest_generation INTEGER NOT NULL DEFAULT 0,                    -- of any user, ever
    access_ttl         INTEGER NOT NULL DEFAULT 0,                    -- ms: the longest life of a new access token
    prior_ttl          INTEGER NOT NULL DEFAULT 0,                    -- ms: the longer one before it was lowered …
    prior_until        INTEGER NOT NULL DEFAULT 0                     -- … and when its last token has expired
) STRICT;

CREATE TABLE users (
    id         BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),  -- `sub`
    name       TEXT    NOT NULL,                                      -- as the user wrote it
    name_key   TEXT    NOT NULL UNIQUE,                               -- case folded: what is compared
    password   TEXT    NOT NULL,                                      -- PHC string
    roles      TEXT    NOT NULL DEFAULT '',                           -- separated by spaces
    version    INTEGER NOT NULL DEFAULT 0,                            -- raised by every change of password, ban, roles
    generation INTEGER NOT NULL DEFAULT 0,                            -- what the next session gets
    banned_at  INTEGER,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row per session, not one per token.
CREATE TABLE sessions (
    id             BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),  -- `sid`
    user_id        BLOB    NOT NULL REFERENCES users (id),
    generation     INTEGER NOT NULL,                                      -- `gen` of its tokens
    secret         BLOB    NOT NULL CHECK (length(secret) = 32),          -- half of what a refresh token is made of
    counter        INTEGER NOT NULL DEFAULT 0,                            -- of the current refresh token
    rotated_at     INTEGER NOT NULL,                                      -- when that counter was reached
    created_at     INTEGER NOT NULL,
    last_used_at   INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,                                      -- idle, absolute or ended: the earliest
    absolute_until INTEGER NOT NULL,
    ended_at       INTEGER,
    device         TEXT,
    address        TEXT,
    user_agent     TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_user ON sessions (user_id, expires_at);
-- To find those that a floor over everything has ended.
CREATE INDEX sessions_by_generation ON sessions (generation) WHERE ended_at IS NULL;
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- The ledger of revocations. All rows of one transaction share `seq`, `prev` and `tag`.
CREATE TABLE revocations (
    seq        INTEGER NOT NULL,
    n          INTEGER NOT NULL,                     -- position within the transaction
    prev       INTEGER NOT NULL,                     -- tag of the transaction before
    tag        INTEGER NOT NULL,
    op         BLOB    NOT NULL,                     -- settles an unknown outcome of a commit
    kind       INTEGER NOT NULL,                     -- 1 token, 2 session, 3 subject, 4 everything
    id         BLOB    NOT NULL,                     -- jti, sid or sub; empty for everything
    floor      INTEGER,                              -- subject, everything: generations below are dead …
    except_sid BLOB,                                 -- … but for this session
    until      INTEGER NOT NULL,                     -- no token that this row denies can be valid after
    PRIMARY KEY (seq, n)
) STRICT, WITHOUT ROWID;

CREATE INDEX revocations_by_id ON revocations (kind, id, floor);
CREATE INDEX revocations_by_until ON revocations (until);
