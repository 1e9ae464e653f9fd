"""Numbers that Spark counts while rows pass by (``DataFrame.observe``)."""

import queue
import threading
from typing import Any

from pyspark.sql import Observation

TIMEOUT_SECONDS = 120.0


class MetricsMissingError(RuntimeError):
    """Spark did not report what a finished write has counted."""


def metrics(observation: Observation, timeout_seconds: float = TIMEOUT_SECONDS) -> dict[str, Any]:
    """The numbers of an observation whose write has finished. They come a moment after it, on another thread.

    Raises:
        MetricsMissingError: they do not come; waiting for ever would look like an idle job.
    """
    answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(observation.get), daemon=True).start()
    try:
        return answers.get(timeout=timeout_seconds)
    except queue.Empty:
        raise MetricsMissingError(
            f"Spark did not report the counts of a finished write within {timeout_seconds:g} s. "
            "This runtime may ignore spark.sql.sources.useV1SourceList, which sink.use_new_writer changes"
        ) from None
