"""The larger training set: sources beside the duel's turns, and the one place where they become a set."""
