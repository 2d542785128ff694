"""Shards of a workspace, on as many machines as there are."""
