-- The ledger's tables, version 2.
CREATE TABLE IF NOT EXISTS replies (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL, attempt INTEGER NOT NULL, occurrence INTEGER NOT NULL, generation INTEGER NOT NULL,
    stage TEXT NOT NULL, item TEXT NOT NULL, asked_model TEXT NOT NULL,
    text TEXT NOT NULL, reasoning TEXT NOT NULL, finish_reason TEXT NOT NULL,
    model TEXT NOT NULL, provider TEXT NOT NULL, usage TEXT NOT NULL, cost REAL,
    latency_s REAL NOT NULL, tries INTEGER NOT NULL, at TEXT NOT NULL, rejected TEXT NOT NULL, proof BLOB
);
CREATE INDEX IF NOT EXISTS replies_by_request ON replies (digest, attempt, occurrence);
CREATE TABLE IF NOT EXISTS faults (
    stage TEXT NOT NULL, asked_model TEXT NOT NULL, kind TEXT NOT NULL, calls INTEGER NOT NULL,
    tokens_in INTEGER NOT NULL DEFAULT 0, tokens_out INTEGER NOT NULL DEFAULT 0, cost REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (stage, asked_model, kind)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS generations (
    stage TEXT NOT NULL, generation INTEGER NOT NULL, finished INTEGER NOT NULL, PRIMARY KEY (stage, generation)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
    id TEXT PRIMARY KEY NOT NULL, stage TEXT NOT NULL, role TEXT NOT NULL, model TEXT NOT NULL, provider TEXT NOT NULL,
    address TEXT NOT NULL, path TEXT NOT NULL, requests INTEGER NOT NULL, worst_cost REAL NOT NULL,
    generation INTEGER NOT NULL, at TEXT NOT NULL, state TEXT NOT NULL, file TEXT NOT NULL DEFAULT '',
    batch TEXT NOT NULL DEFAULT '', status TEXT NOT NULL DEFAULT '', others TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS batch_requests (
    home TEXT NOT NULL, key TEXT NOT NULL, item TEXT NOT NULL, asked_tokens INTEGER NOT NULL, tokens INTEGER NOT NULL,
    outcome TEXT NOT NULL DEFAULT '', PRIMARY KEY (home, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS batch_requests_by_key ON batch_requests (key);
