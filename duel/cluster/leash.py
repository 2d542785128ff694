"""A command that ends when the process that started it is gone: `python -m duel.cluster.leash PARENT king …`.

A worker that is killed takes no child along. The orphan would go on holding the shard's lock, and spending.
"""

import ctypes
import os
import signal
import sys

# linux/prctl.h
PR_SET_PDEATHSIG = 1


def main() -> None:
    parent = int(sys.argv.pop(1))
    if sys.platform == "linux":
        # SIGTERM, not SIGKILL: the replies in flight are kept.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("the worker is gone")
    os.execv(sys.executable, [sys.executable, "-m", "duel", *sys.argv[1:]])  # noqa: S606


if __name__ == "__main__":
    main()
