"""``make soak``: what takes too long for ``make test``. It may be stopped at any moment and goes on where it was.

A part is a module of this folder with ``run(record: Record) -> None``, which keeps each unit of work in its record when
that is done and raises when something is wrong. The records lie in ``bench/soak`` and are committed: the next machine
goes on where this one was. Delete one to start its part anew.
"""

import importlib
import signal
import sys
import traceback
from collections.abc import Sequence

from lpm.local import paths
from soak.record import Record

PARTS = ("convergence", "kills", "rounds")  # in their order
RECORDS = paths.checkout() / "bench" / "soak"


def main(chosen: Sequence[str]) -> int:
    """0 when all is done and was good, 1 when something was not, 2 when a part is unknown, 130 when stopped."""
    if unknown := sorted(set(chosen) - set(PARTS)):
        print(f"unknown part {', '.join(unknown)}; expected one of {', '.join(PARTS)}", file=sys.stderr)
        return 2
    for stop in (signal.SIGINT, signal.SIGTERM):  # a shell makes what it starts in the background ignore Ctrl-C
        signal.signal(stop, signal.default_int_handler)
    failed = False
    for name in chosen or PARTS:
        record = Record(RECORDS / f"{name}.json")
        try:
            importlib.import_module(f"soak.{name}").run(record)
        except KeyboardInterrupt:
            record.say("stopped; the next make soak goes on from here")
            return 130
        except Exception:
            failed = True
            story = paths.home() / "soak" / f"{name}.failure.txt"
            story.parent.mkdir(parents=True, exist_ok=True)
            story.write_text(traceback.format_exc(), encoding="utf-8")
            traceback.print_exc()
            record.say(f"FAILED, see {story}; the next make soak begins with what failed")
        else:
            record.say(f"done, all good: {record.path}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
