-- Names the deployment, for what it shares with other programs. Kept when the ledger begins anew.
ALTER TABLE head ADD COLUMN deployment BLOB NOT NULL
    DEFAULT x'00000000000000000000000000000000' CHECK (length(deployment) = 16);

UPDATE head SET deployment = randomblob(16);
