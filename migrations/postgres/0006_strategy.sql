-- How a node checks: those of one word may share a ledger. A node from before this column answers from memory.
ALTER TABLE nodes ADD COLUMN kin text NOT NULL DEFAULT 'memory';
