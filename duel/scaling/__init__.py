"""The larger training set: sources beside the duel's turns, and the one place where they become a set."""

from functools import partial

from duel import wordlists

table = partial(wordlists.toml, __name__)
