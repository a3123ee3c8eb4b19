-- Names the deployment, for what it shares with other programs. Kept when the ledger begins anew.
ALTER TABLE head ADD COLUMN deployment uuid NOT NULL DEFAULT gen_random_uuid();
