#!/usr/bin/env python3
"""Write the challenger of every answer, with the pull request in hand: `duel/stages/challenger.py` tells how."""

from duel.cli import script

if __name__ == "__main__":
    script("ch")
