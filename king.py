#!/usr/bin/env python3
"""Write the king of every prompt, a blind answer: `duel/stages/king.py` tells how."""

from duel.cli import script

if __name__ == "__main__":
    script("king")
