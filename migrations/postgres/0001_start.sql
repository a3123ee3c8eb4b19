-- Times are milliseconds of ledger time since 1970. The tables are those of the SQLite schema, column by column: the
-- statements are the same.

-- The ledger's head: one row. Its counter is taken last in every revoking transaction, under this row's lock.
CREATE TABLE head (
    one                bigint NOT NULL PRIMARY KEY CHECK (one = 1),
    ledger             uuid   NOT NULL,            -- `epoch` in tokens: one life of this ledger
    seq                bigint NOT NULL DEFAULT 0,  -- of the last transaction
    tag                bigint NOT NULL,            -- of the last transaction, random
    clock              bigint NOT NULL,            -- ledger time reached; a server whose clock is behind holds it still
    floor              bigint NOT NULL DEFAULT 0,  -- tokens of a generation below this are dead
    highest_generation bigint NOT NULL DEFAULT 0,  -- of any user, ever
    access_ttl         bigint NOT NULL DEFAULT 0,  -- ms: the longest life of a new access token
    prior_ttl          bigint NOT NULL DEFAULT 0,  -- ms: the longer one before it was lowered …
    prior_until        bigint NOT NULL DEFAULT 0   -- … and when its last token has expired
);

CREATE TABLE users (
    id         uuid   NOT NULL PRIMARY KEY,        -- `sub`
    name       text   NOT NULL,                    -- as the user wrote it
    name_key   text   COLLATE "C" NOT NULL UNIQUE, -- case folded: what is compared, byte by byte
    password   text   NOT NULL,                    -- PHC string
    roles      text   NOT NULL DEFAULT '',         -- separated by spaces
    version    bigint NOT NULL DEFAULT 0,          -- raised by every change of password, ban, roles
    generation bigint NOT NULL DEFAULT 0,          -- what the next session gets
    banned_at  bigint,
    created_at bigint NOT NULL
);

-- One row per session, not one per token.
CREATE TABLE sessions (
    id             uuid   NOT NULL PRIMARY KEY,                    -- `sid`
    user_id        uuid   NOT NULL REFERENCES users (id),
    generation     bigint NOT NULL,                                -- `gen` of its tokens
    secret         bytea  NOT NULL CHECK (length(secret) = 32),    -- half of what a refresh token is made of
    counter        bigint NOT NULL DEFAULT 0,                      -- of the current refresh token
    rotated_at     bigint NOT NULL,                                -- when that counter was reached
    created_at     bigint NOT NULL,
    last_used_at   bigint NOT NULL,
    expires_at     bigint NOT NULL,                                -- idle, absolute or ended: the earliest
    absolute_until bigint NOT NULL,
    ended_at       bigint,
    device         text,
    address        text,
    user_agent     text
);

CREATE INDEX sessions_by_user ON sessions (user_id, expires_at);
-- To find those that a floor over everything has ended.
CREATE INDEX sessions_by_generation ON sessions (generation) WHERE ended_at IS NULL;
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- The ledger of revocations. All rows of one transaction share `seq`, `prev` and `tag`.
CREATE TABLE revocations (
    seq        bigint NOT NULL,
    n          bigint NOT NULL,                     -- position within the transaction
    prev       bigint NOT NULL,                     -- tag of the transaction before
    tag        bigint NOT NULL,
    op         uuid   NOT NULL,                     -- settles an unknown outcome of a commit
    kind       bigint NOT NULL,                     -- 1 token, 2 session, 3 subject, 4 everything
    id         bytea  NOT NULL,                     -- jti, sid or sub; empty for everything
    floor      bigint,                              -- subject, everything: generations below are dead …
    except_sid uuid,                                -- … but for this session
    until      bigint NOT NULL,                     -- no token that this row denies can be valid after
    PRIMARY KEY (seq, n)
);

CREATE INDEX revocations_by_id ON revocations (kind, id, floor);
CREATE INDEX revocations_by_until ON revocations (until);
