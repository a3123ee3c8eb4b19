-- Of a subject's rows, those that end tokens and not sessions are looked for by themselves, however many others there are.
CREATE INDEX revocations_by_exception ON revocations (kind, id, except_sid, floor) WHERE except_sid IS NOT NULL;
