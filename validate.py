#!/usr/bin/env python3
"""Let a panel of judges compare challenger and king: `duel/stages/validate.py` tells how."""

from duel.cli import script

if __name__ == "__main__":
    script("validate")
