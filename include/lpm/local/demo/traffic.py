"""Traffic on the source: inserts, updates, moves, deletes and compactions, several hundred rows a second."""

import random
import threading
import time

from lpm.local.demo.source import Source

INSERTED = 900  # rows of one insert
MERGED = 400  # rows of one merge
MERGE_EVERY, STRAYS_EVERY, COMPACT_EVERY = 3, 10, 25  # rounds


class Traffic(threading.Thread):
    """Rounds of commits, one a second if the machine can keep up.

    ``rows`` counts inserted and merged rows, ``strays`` the rows of an unknown company. A failed statement ends the
    traffic; ``failure`` then holds the error.
    """

    def __init__(self, source: Source, first_number: int, rounds: int | None, seed: int = 7) -> None:
        super().__init__(name="traffic", daemon=True)
        self._source = source
        self._next = first_number
        self._rounds = rounds
        self._random = random.Random(seed)  # noqa: S311  # variety, not secrecy
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
                self._stopped.wait(max(0.0, 1 - (time.monotonic() - started)))
        except Exception as error:  # whatever it was, the screen has to show it
            self.failure = error

    def _commit(self) -> None:
        self._source.insert(self._next, INSERTED, generation=0)
        self._next += INSERTED
        self.rows += INSERTED
        if self.round % MERGE_EVERY == 0:
            self._source.merge(self._random.randrange(max(1, self._next - MERGED)), MERGED, generation=self.round)
            self.rows += MERGED
        if self.round % STRAYS_EVERY == 0:
            self._source.insert_strays(self._next)
            self._next += 2
            self.strays += 1
        if self.round % COMPACT_EVERY == 0:
            self._source.compact()
