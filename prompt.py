#!/usr/bin/env python3
"""Sample single turns of coding agents: `duel/stages/prompt.py` tells how."""

from duel.cli import script

if __name__ == "__main__":
    script("prompt")
