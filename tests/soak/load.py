"""A local cloud of its own for the soak, with the pipeline live and traffic that nothing ends."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

from lpm.local import paths
from lpm.local.cloud import airflow, control
from lpm.local.cloud.parts import ENVIRONMENT, Cloud
from lpm.local.demo.pipeline import Pipeline
from lpm.local.demo.traffic import Traffic

FIRST_ROWS = 2_000
# For hours the optimising compiler pays: a round takes a quarter less. So does no generated code, half again: Spark
# generates another for each version that a statement names, and the compiler never gets to know it.
JAVA_FOR_HOURS = (
    "-XX:TieredStopAtLevel=4",
    "-Dspark.sql.codegen.wholeStage=false",
    "-Dspark.sql.codegen.factoryMode=NO_CODEGEN",
)


@contextlib.contextmanager
def live_cloud(say: Callable[[str], None]) -> Iterator[tuple[Cloud, Pipeline]]:
    """The cloud is up and its pipeline live; it goes down at the end, its data stay until the next one.

    A new one each time: what an interrupted run has broken is not found by the next.

    Raises:
        OSError: the local cloud could not be started.
    """
    folder = paths.home() / "soak" / "cloud"
    os.environ["_JAVA_OPTIONS"] = " ".join(JAVA_FOR_HOURS)  # this variable overrules the command line
    control.reset(say, folder)
    cloud = control.up(say, folder)
    try:
        state, endpoints = cloud.state, cloud.endpoints
        os.environ.update(airflow.environment(folder / "airflow", state, endpoints, cloud.config, ENVIRONMENT))
        pipeline = Pipeline.of(cloud)
        pipeline.source.create(FIRST_ROWS)
        pipeline.run_dag("go_live", {"reason": "soak"})
        yield cloud, pipeline
    finally:
        control.down(say, folder)


class LastingTraffic(threading.Thread):
    """Traffic that goes on through kills: when a dying workspace refused a statement, new traffic begins.

    Args:
        pipeline: Where to.
        inserted: Rows of an insert.
        seconds: Between two inserts.
    """

    def __init__(self, pipeline: Pipeline, inserted: int, seconds: float) -> None:
        super().__init__(name="lasting traffic", daemon=True)
        self._pipeline, self._inserted, self._seconds = pipeline, inserted, seconds
        self._stopped = threading.Event()

    def run(self) -> None:
        """The thread's work."""
        source = self._pipeline.source
        while not self._stopped.is_set():
            with contextlib.suppress(Exception):  # the workspace is away; it comes back
                first = FIRST_ROWS + source.version() * self._inserted
                traffic = Traffic(source, first, None, self._inserted, self._seconds)
                traffic.start()
                while traffic.is_alive() and not self._stopped.wait(1):
                    pass
                traffic.stop()
                traffic.join()
            self._stopped.wait(1)

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join()
