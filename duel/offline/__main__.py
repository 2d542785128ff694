"""Run the stand-in endpoint as a program: `python -m duel.offline --port 8399 --latency-ms 200`."""

import argparse
import contextlib
import threading

from duel import command
from duel.errors import SettingsError


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m duel.offline", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--latency-ms", type=float, default=0, help="wait before each reply")
    given = parser.parse_args()

    from duel.local_server import serving
    from duel.offline.loopback import Server

    application = Server(given.latency_ms / 1000).application()
    try:
        with contextlib.suppress(KeyboardInterrupt), serving(application, given.port) as taken:
            print(f"http://127.0.0.1:{taken}/v1", flush=True)
            threading.Event().wait()  # until a signal ends it
    except (OSError, OverflowError) as error:
        raise SettingsError("cannot listen", where="--port", value=error) from None


if __name__ == "__main__":
    command.run(main)
