"""kill -9 of every part in turn, at random moments of the traffic. Nobody helps; then source = targets again."""

import contextlib
import random
import time

from killing import child, kill_tree
from lpm.local.cloud.parts import Cloud
from lpm.local.cloud.status import status
from lpm.local.demo.pipeline import Pipeline, wait_until
from soak.load import LastingTraffic, live_cloud
from soak.record import Record

# The stream job's run and the first router are children of the stand-ins; the others are parts of the cloud.
CHILDREN = {"stream job": "run-", "router": "asa-lpm-local-shard-01"}
PARTS = ("kafka", "event-hubs", "postgres", "databricks", "azure", "airflow-scheduler")
VICTIMS = (*CHILDREN, *PARTS)
KILLS = 3 * len(VICTIMS)
INSERTED, TRAFFIC_SECONDS = 300, 2.0
RECOVERY_SECONDS = 240.0


def run(record: Record) -> None:
    """Every kill that is not done yet.

    Raises:
        TimeoutError: a part did not come back, or what was committed since did not arrive.
        RuntimeError: a company's database differs from the source.
    """
    left = [number for number in range(KILLS) if _unit(number) not in record]
    record.say(f"{KILLS - len(left)} of {KILLS} kills are done")
    if not left:
        return
    with live_cloud(record.say) as (cloud, pipeline):
        for number in left:
            recovered, rows = _kill(cloud, pipeline, number)
            record.keep(_unit(number), recovery_seconds=round(recovered, 1), rows_equal=rows)
            record.say(f"{_unit(number)}: back after {recovered:.0f} s; source = targets, {rows:,} rows")


def _unit(number: int) -> str:
    return f"kill {number + 1} of {VICTIMS[number % len(VICTIMS)]}"


def _kill(cloud: Cloud, pipeline: Pipeline, number: int) -> tuple[float, int]:
    """Seconds until everything worked again, and how many rows were equal in the end."""
    name = VICTIMS[number % len(VICTIMS)]
    with LastingTraffic(pipeline, INSERTED, TRAFFIC_SECONDS):
        time.sleep(random.Random(number).uniform(2, 10))  # a random moment
        killed = _process(cloud, name)
        kill_tree(killed)
        begun = time.monotonic()
        wait_until(lambda: _is_back(cloud, name, killed), name, RECOVERY_SECONDS)
        pipeline.wait_for_version(_version(pipeline))
        recovered = time.monotonic() - begun
    verdicts = pipeline.catch_up()
    if different := [verdict.company for verdict in verdicts if not verdict.equal]:
        raise RuntimeError(f"after kill -9 of {name}: {', '.join(different)} differ from the source")
    return recovered, sum(verdict.rows for verdict in verdicts)


def _process(cloud: Cloud, name: str) -> int:
    """The process of a part or child, 0 while it has none."""
    if name in CHILDREN:
        return child(cloud, CHILDREN[name])
    return next(part.pid for part in status(cloud).parts if part.name == name)


def _is_back(cloud: Cloud, name: str, killed: int) -> bool:
    ready = all(part.state == "ready" for part in status(cloud).parts)
    return ready and _process(cloud, name) not in (0, killed)


def _version(pipeline: Pipeline) -> int:
    """The source's version, as soon as the workspace answers again."""
    found: list[int] = []

    def asked() -> bool:
        with contextlib.suppress(Exception):
            found.append(pipeline.source.version())
        return bool(found)

    wait_until(asked, "the workspace", RECOVERY_SECONDS)
    return found[-1]
