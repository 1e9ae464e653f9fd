"""What a part of the soak has done already, kept so that it may be stopped at any moment."""

import json
import signal
import time
from pathlib import Path
from typing import Any

from lpm.local.files import write_atomically


class Record:
    """Units of work by name, each with its figures. The file is whole whenever the process ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stop = False
        self.units: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def __contains__(self, unit: str) -> bool:
        return unit in self.units

    def keep(self, unit: str, **figures: float) -> None:
        """The unit is done and went well. One that went wrong is not kept: the next soak begins with it.

        Raises:
            KeyboardInterrupt: somebody asked to stop.
        """
        self.units[unit] = {**figures, "ended_at": f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}"}
        write_atomically(self.path, (json.dumps(self.units, indent=1) + "\n").encode())
        if self._stop:
            raise KeyboardInterrupt

    def total(self, figure: str) -> float:
        """Sum of a figure over all units."""
        return sum(unit[figure] for unit in self.units.values())

    def say(self, text: str) -> None:
        """Print progress."""
        print(f"{time.strftime('%H:%M:%S')} {self.path.stem}: {text}", flush=True)

    def heed_interrupts(self) -> None:
        """From now on Ctrl-C ends the work after the unit that is under way, a second one at once.

        To be called when Spark, which catches the signal itself, has been started.
        """
        signal.signal(signal.SIGINT, self._stop_soon)

    def _stop_soon(self, *_: Any) -> None:
        self._stop = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.say("stops when this unit is done; press Ctrl-C again to stop at once")
