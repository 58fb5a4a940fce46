"""Kills the containers' process groups when the server has gone, however it went.

Run as a script by `groups.Reaper`, with the server holding the other end of its standard input. It reads
lines `+PGID` and `-PGID`; when the input ends, it kills the groups that are still noted. It imports nothing
of ours, so that it starts fast and stays small.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    # The terminal's interrupt is for the server, which then ends the containers in good order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    main()
