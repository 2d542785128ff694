"""Experiments on what an export is worth to a trainer: run as modules, in an environment with the extra `[train]`."""
