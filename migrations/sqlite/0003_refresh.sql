-- Refreshes in quick succession are one burst: which token the first of them has replaced, and when.
ALTER TABLE sessions ADD COLUMN burst_counter INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN burst_at      INTEGER NOT NULL DEFAULT 0;
