"""The runbook site of the demo: published through Airflow while the traffic runs."""

import threading

import httpx

from lpm.local.airflow_api import DagRunError
from lpm.local.demo.pipeline import Pipeline


class Publication(threading.Thread):
    """Runs ``publish_docs`` without asking anybody. ``failure`` is why it did not work, once the thread has ended."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(daemon=True)  # Ctrl-C does not wait for it: the run itself goes on
        self._pipeline = pipeline
        self.failure: str | None = None

    def run(self) -> None:
        """Publish."""
        try:
            self._pipeline.run_dag("publish_docs", {"ask": False, "reason": "make demo"})
        except (DagRunError, TimeoutError, RuntimeError, OSError, httpx.HTTPError) as error:
            self.failure = str(error)
