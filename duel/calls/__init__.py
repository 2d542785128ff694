"""One way to call a model: client, limits, retries, the ledger of paid replies, the runner that drives many."""
