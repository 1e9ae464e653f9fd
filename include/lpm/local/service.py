"""A local service that is started, stopped, and used in a ``with`` block."""

import signal
import subprocess
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from lpm.local import processes


class Service(ABC):
    """A server process of our own. ``start`` keeps it in ``_process``."""

    _process: subprocess.Popen[bytes] | None = None
    _stop_signal = signal.SIGTERM

    @abstractmethod
    def start(self) -> Self:
        """Start and wait until a client gets an answer.

        Raises:
            RuntimeError: it ended or did not answer; the message has the end of its log.
        """

    def stop(self) -> None:
        """Stop cleanly. Does nothing when it was not started here."""
        if self._process is not None:
            processes.stop(self._process, self._stop_signal)
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
