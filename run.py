#!/usr/bin/env python3
"""Run all stages in order: `duel/stages/whole.py` tells how."""

from duel.cli import script

if __name__ == "__main__":
    script("run")
