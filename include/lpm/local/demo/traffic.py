"""Traffic on the source: inserts, updates, moves, deletes and compactions."""

import random
import threading
import time

from lpm.local.demo.source import Source

INSERTED = 900  # rows of one insert
MERGED_SHARE = 4 / 9  # rows of one merge for each row of one insert
MERGE_EVERY, STRAYS_EVERY, COMPACT_EVERY = 3, 10, 25  # rounds


class Traffic(threading.Thread):
    """Rounds of commits, one every ``seconds`` if the machine can keep up: several hundred rows a second by default.

    ``rows`` counts inserted and merged rows, ``strays`` the rows of an unknown company. A failed statement ends the
    traffic; ``failure`` then holds the error.
    """

    def __init__(
        self, source: Source, first_number: int, rounds: int | None, inserted: int = INSERTED, seconds: float = 1.0
    ) -> None:
        super().__init__(name="traffic", daemon=True)
        self._inserted, self._merged, self._seconds = inserted, round(inserted * MERGED_SHARE), seconds
        self._source = source
        self._next = first_number
        self._rounds = rounds
        self._random = random.Random(7)  # noqa: S311  # variety, not secrecy
        self._stopped = threading.Event()
        self.rows = self.strays = self.round = 0
        self.failure: Exception | None = None

    def stop(self) -> None:
        """End after the current round."""
        self._stopped.set()

    def run(self) -> None:
        """The thread's work."""
        try:
            while not self._stopped.is_set() and (self._rounds is None or self.round < self._rounds):
                started = time.monotonic()
                self.round += 1
                self._commit()
                self._stopped.wait(max(0.0, self._seconds - (time.monotonic() - started)))
        except Exception as error:  # whatever it was, the screen has to show it
            self.failure = error

    def _commit(self) -> None:
        self._source.insert(self._next, self._inserted, generation=0)
        self._next += self._inserted
        self.rows += self._inserted
        if self.round % MERGE_EVERY == 0:
            first = self._random.randrange(max(1, self._next - self._merged))
            self._source.merge(first, self._merged, generation=self.round)
            self.rows += self._merged
        if self.round % STRAYS_EVERY == 0:
            self._source.insert_strays(self._next)
            self._next += 2
            self.strays += 1
        if self.round % COMPACT_EVERY == 0:
            self._source.compact()
