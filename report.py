#!/usr/bin/env python3
"""Write the report of a judged run, and sort its turns: `duel/stages/report.py` tells how."""

from duel.cli import script

if __name__ == "__main__":
    script("report")
