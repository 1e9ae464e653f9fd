"""Rounds of reconciliation under write load. Every third has a fault in it, every twentieth begins with a kill -9.

In every twenty-fifth one company's watermark stands still.
"""

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psutil

from lpm.clients.databricks import DatabricksClient
from lpm.clients.evidence import EvidenceStore
from lpm.local import paths
from lpm.local.cloud import airflow, control
from lpm.local.cloud.parts import ENVIRONMENT, Cloud
from lpm.local.cloud.status import status
from lpm.local.cloud.supervision import Supervisor
from lpm.local.demo.faults import FIRST_NUMBER, ROWS, Fault, FaultMaker
from lpm.local.demo.pipeline import Pipeline, wait_until
from lpm.local.demo.traffic import Traffic
from lpm.procedures.reconciliation.result import CompanyResult, Verdict
from lpm.procedures.reconciliation.round import Round, Wanted
from soak.counts import Counts, counted
from soak.record import Record

ROUNDS = 1_000
FIRST_ROWS = 2_000
FAULT_EVERY, KILL_EVERY, STUCK_EVERY = 3, 20, 25  # rounds
STUCK = "watermark"  # a fault of no row
INSERTED, TRAFFIC_SECONDS = 100, 8.0  # rows of an insert, and between two: two cores then still reconcile in seconds
ROUNDS_OF_TRAFFIC = 40  # then the traffic pauses, and every value is compared
GRACE_SECONDS = 2.0
RECOVERY_SECONDS = 240.0
# The stream job's run and the first router are children of the stand-ins; the others are parts of the cloud.
CHILDREN = {"stream job": "run-", "router": "asa-lpm-local-shard-01"}
PARTS = ("kafka", "event-hubs", "postgres", "databricks", "azure", "airflow-scheduler")

Report = Callable[[str], None]


def run(record: Record) -> None:
    """Go on until ``ROUNDS`` rounds are counted, over all runs, in a local cloud of its own.

    Raises:
        RuntimeError: there was a false alarm, or a fault was not found, named or repaired; all of them, in words.
        OSError: the local cloud could not be started.
    """
    counts = Counts.read(record.path)
    folder = paths.home() / "soak" / "cloud"
    cloud = control.up(record.say, folder)
    connections = airflow.environment(cloud.folder / "airflow", cloud.state, cloud.endpoints, cloud.config, ENVIRONMENT)
    os.environ.update(connections)
    pipeline = Pipeline.of(cloud)
    pipeline.source.create(FIRST_ROWS)
    pipeline.run_dag("go_live", {"reason": "soak"})
    maker = FaultMaker(pipeline, pipeline.addresses(cloud))
    try:
        while counts.rounds < ROUNDS:
            with _LastingTraffic(pipeline):
                for _ in range(min(ROUNDS_OF_TRAFFIC, ROUNDS - counts.rounds)):
                    _Soaked(cloud, pipeline, maker, counts, record.say).round()
                    counts.write(record.path)
            if different := [verdict.company for verdict in pipeline.catch_up() if not verdict.equal]:
                counts.failures.append(f"round {counts.rounds}: {', '.join(different)} differ after the traffic")
            counts.write(record.path)
            record.say(f"source = targets after round {counts.rounds}: {not different}")
    finally:
        maker.close()
        control.down(record.say, folder)
    if not counts.right:
        raise RuntimeError("\n".join([str(counts), *counts.failures]))


class _LastingTraffic(threading.Thread):
    """Traffic that goes on through kills: when a dying workspace refused a statement, new traffic begins."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(name="lasting traffic", daemon=True)
        self._pipeline = pipeline
        self._stopped = threading.Event()

    def run(self) -> None:
        """The thread's work."""
        source = self._pipeline.source
        while not self._stopped.is_set():
            with contextlib.suppress(Exception):  # the workspace is away; it comes back
                traffic = Traffic(source, FIRST_ROWS + source.version() * INSERTED, None, INSERTED, TRAFFIC_SECONDS)
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


class _Soaked:
    """One round."""

    def __init__(self, cloud: Cloud, pipeline: Pipeline, maker: FaultMaker, counts: Counts, report: Report) -> None:
        self._cloud, self._pipeline, self._maker = cloud, pipeline, maker
        self._counts, self._report = counts, report
        self._number = counts.rounds + 1
        self._random = random.Random(self._number)

    def round(self) -> None:
        """Perhaps a kill, perhaps a fault, then a comparison of every company."""
        if self._number % KILL_EVERY == 0:
            self._kill()
        begun = time.monotonic()
        if self._number % STUCK_EVERY == 0:
            self._round_with_a_stuck_watermark()
        else:
            self._compare(self._fault() if self._number % FAULT_EVERY == 0 else None)
        self._counts.rounds = self._number
        self._report(f"round {self._number} ({time.monotonic() - begun:.0f} s): {self._counts}")

    def _compare(self, fault: Fault | None) -> None:
        for result in self._results():
            self._judge(result, fault if fault and fault.company == result.company else None)

    def _round_with_a_stuck_watermark(self) -> None:
        """One company's watermark stands: its result says so and proves nothing newer, the others are as ever."""
        counts = self._counts
        company = self._random.choice(self._pipeline.config.tenants)
        counts.faults = counted(counts.faults, STUCK)
        source = self._pipeline.source
        with self._maker.stopped_watermark(company):
            source.insert(FIRST_NUMBER + source.version() * ROWS, 1, generation=0)  # a version that it cannot reach
            results = self._results()
        [result] = [each for each in results if each.company == company.id]
        if result.verdict is Verdict.PASS and result.verified_through < result.through and result.stuck_seconds > 0:
            counts.found = counted(counts.found, STUCK)
        else:
            self._fail(f"company {company.id}: a watermark that stands was judged as {result.summary}")
        for other in results:
            self._judge(other, None)
        self._pipeline.wait_for_version(source.version())
        counts.repaired = counted(counts.repaired, STUCK)

    def _results(self) -> list[CompanyResult]:
        moment = datetime.now(UTC) + timedelta(hours=self._number)  # each round has another slice
        environment = self._pipeline.environment
        wanted = Wanted(
            f"soak-{self._number}", moment, every_value=self._number % FAULT_EVERY == 0, grace_seconds=GRACE_SECONDS
        )
        this_round = Round(
            self._pipeline.config, environment, DatabricksClient.of(environment), EvidenceStore(environment), wanted
        )
        ledger = this_round.bring_ledger_forward()
        if ledger.faults:
            self._fail(f"the ledger disagreed with its table: {ledger.faults[:3]}")
        return [this_round.reconcile(company, ledger) for company in self._pipeline.config.companies]

    def _judge(self, result: CompanyResult, fault: Fault | None) -> None:
        counts = self._counts
        counts.comparisons += 1
        counts.in_flight += result.in_flight
        counts.late += result.late
        if fault is None:
            if result.verdict is not Verdict.PASS:
                counts.false_alarms += 1
                self._fail(f"company {result.company}: {result.summary}")
            return
        kind = fault.kind.value
        if result.differences == {kind: 1}:
            counts.found = counted(counts.found, kind)
        else:
            self._fail(f"company {fault.company}: {kind} {fault.key_hash} was judged as {result.summary}")
        if result.repaired == 1:
            counts.repaired = counted(counts.repaired, kind)

    def _fail(self, what: str) -> None:
        self._counts.failures.append(f"round {self._number}: {what}")
        self._report(f"round {self._number}: {what}")

    def _fault(self) -> Fault:
        """A fault of a random class in a random company, on rows that nothing else touches."""
        keys = self._maker.prepare(self._pipeline.source.version())
        company, other = self._random.sample(self._pipeline.config.tenants, 2)
        key = self._random.choice(keys[company.id])
        makers: list[Callable[[], Fault]] = [
            lambda: self._maker.delete(company, key),
            lambda: self._maker.lose_change(company, key),
            lambda: self._maker.lose_delete(company, key),
            lambda: self._maker.duplicate(company, key),
            lambda: self._maker.edit(company, key),
            lambda: self._maker.edit_hash(company, key),
            lambda: self._maker.copy(company, key, other),
        ]
        fault = self._random.choice(makers)()
        self._counts.faults = counted(self._counts.faults, fault.kind.value)
        return fault

    def _kill(self) -> None:
        """kill -9 of a random part; nobody helps it up."""
        name = self._random.choice([*CHILDREN, *PARTS])
        self._counts.kills = counted(self._counts.kills, name)
        self._report(f"round {self._number}: kill -9 of {name}")
        _kill_tree(_child(self._cloud, CHILDREN[name]) if name in CHILDREN else _part(self._cloud, name))
        wait_until(lambda: self._has_recovered(name), f"{name} and everything behind it", RECOVERY_SECONDS)
        self._counts.recovered = counted(self._counts.recovered, name)

    def _has_recovered(self, name: str) -> bool:
        """Whether the part is back and a change that was committed since then is in every database."""
        with contextlib.suppress(Exception):  # whatever is still away says so in its own way
            if name in CHILDREN and not _child(self._cloud, CHILDREN[name]):
                return False
            self._pipeline.wait_for_version(self._pipeline.source.version())
            return True
        return False


def _child(cloud: Cloud, begins: str) -> int:
    children: list[tuple[str, int]] = [
        (child.name, child.pid) for part in status(cloud).parts for child in part.children
    ]
    return next((pid for name, pid in children if name.startswith(begins)), 0)


def _part(cloud: Cloud, name: str) -> int:
    return Supervisor(cloud.folder, cloud.state).programs()[name].pid


def _kill_tree(pid: int) -> None:
    """Kill a process and what it started, as a machine that loses power does."""
    process = psutil.Process(pid)
    for each in [*process.children(recursive=True), process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.send_signal(signal.SIGKILL)
