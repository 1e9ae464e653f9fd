"""The runbook site of the demo: its status and its pages, made through Airflow while the traffic runs."""

import threading
import time

import httpx

from lpm.local.airflow_api import DagRunError
from lpm.local.demo.pipeline import Pipeline

MONITOR_SECONDS = 300  # as often as the monitor's schedule would, if anything ran by itself here


class Publication(threading.Thread):
    """Runs ``monitor``, for the live status, and ``publish_docs`` without asking anybody.

    Args:
        pipeline: Whose Airflow.
        lasting: Whether to look again every five minutes, until the process ends.

    ``failure`` is why something did not work, once the thread has ended.
    """

    def __init__(self, pipeline: Pipeline, *, lasting: bool) -> None:
        super().__init__(daemon=True)  # Ctrl-C does not wait for it: the run itself goes on
        self._pipeline = pipeline
        self._lasting = lasting
        self.failure: str | None = None

    def run(self) -> None:
        """Look and publish, then look again."""
        try:
            self._pipeline.run_dag("monitor", {"reason": "make demo"})
            self._pipeline.run_dag("publish_docs", {"ask": False, "reason": "make demo"})
            while self._lasting:
                time.sleep(MONITOR_SECONDS)
                self._pipeline.run_dag("monitor", {"reason": "make demo"})
        except (DagRunError, TimeoutError, RuntimeError, OSError, httpx.HTTPError) as error:
            self.failure = str(error)
