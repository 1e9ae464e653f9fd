"""Rounds of reconciliation under write load. Every third has a fault in it, in every 25th a watermark stands still."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

from lpm.clients.databricks import DatabricksClient
from lpm.clients.evidence import EvidenceStore
from lpm.config import Company, Config
from lpm.local.cloud.parts import Cloud
from lpm.local.cloud.supervision import Supervisor
from lpm.local.demo.faults import FIRST_NUMBER, ROWS, Fault, FaultMaker
from lpm.local.demo.pipeline import Pipeline
from lpm.procedures.reconciliation.result import CompanyResult, Verdict
from lpm.procedures.reconciliation.round import Round, Wanted
from soak.counts import Counts, counted
from soak.load import LastingTraffic, live_cloud
from soak.record import Record

ROUNDS = 1_000
FAULT_EVERY, STUCK_EVERY = 3, 25  # rounds
STUCK = "watermark"  # a fault of no row
INSERTED, TRAFFIC_SECONDS = 100, 8.0  # rows of an insert, and between two: two cores then still reconcile in seconds
ROUNDS_OF_TRAFFIC = 40  # then the traffic pauses, and every value of every company is compared
ROUNDS_OF_A_CLOUD = 200  # then another one: the longer a Delta table's log, the longer takes every statement about it
COMPANIES = 2  # that a round compares, another choice each time: a company costs 5 to 10 s on two cores under load
GRACE_SECONDS = 2.0
STUCK_WAIT_SECONDS = 10.0  # for a watermark that stands: the configured minutes would be most of the soak

Report = Callable[[str], None]


def run(record: Record) -> None:
    """Go on until ``ROUNDS`` rounds are counted, over all runs, in local clouds of its own.

    Raises:
        RuntimeError: there was a false alarm, or a fault was not found, named or repaired; all of them, in words.
        OSError: the local cloud could not be started.
    """
    counts = Counts.read(record.path)
    while counts.rounds < ROUNDS:
        with (
            live_cloud(record.say) as (cloud, pipeline),
            closing(FaultMaker(pipeline, pipeline.addresses(cloud))) as maker,
        ):
            _stop_airflow(cloud)
            _rounds_of_a_cloud(pipeline, maker, counts, record)
    if not counts.right:
        raise RuntimeError("\n".join([str(counts), *counts.failures]))


def _rounds_of_a_cloud(pipeline: Pipeline, maker: FaultMaker, counts: Counts, record: Record) -> None:
    keys: dict[str, list[str]] = {}
    end = min(counts.rounds + ROUNDS_OF_A_CLOUD, ROUNDS)
    while counts.rounds < end:
        with LastingTraffic(pipeline, INSERTED, TRAFFIC_SECONDS):
            for _ in range(min(ROUNDS_OF_TRAFFIC, end - counts.rounds)):
                _Soaked(pipeline, maker, keys, counts, record.say).round()
                counts.write(record.path)
        if different := [verdict.company for verdict in pipeline.catch_up() if not verdict.equal]:
            counts.failures.append(f"round {counts.rounds}: {', '.join(different)} differ after the traffic")
        counts.write(record.path)
        record.say(f"source = targets after round {counts.rounds}: {not different}")


def _stop_airflow(cloud: Cloud) -> None:
    """A round here calls what Airflow's tasks call; Airflow itself would take a tenth of two cores, doing nothing."""
    supervisor = Supervisor(cloud.folder, cloud.state)
    for part in cloud.parts():
        if part.name.startswith("airflow-"):
            supervisor.stop_part(part.name)


class _Soaked:
    """One round. ``keys``: by company, of rows that nothing else touches; each serves one fault."""

    def __init__(
        self, pipeline: Pipeline, maker: FaultMaker, keys: dict[str, list[str]], counts: Counts, report: Report
    ) -> None:
        self._pipeline, self._maker, self._keys = pipeline, maker, keys
        self._counts, self._report = counts, report
        self._number = counts.rounds + 1
        self._random = random.Random(self._number)
        self._companies = self._random.sample(pipeline.config.tenants, COMPANIES)

    def round(self) -> None:
        """Perhaps a fault in the first of the companies, then a comparison of each."""
        begun = time.monotonic()
        if self._number % STUCK_EVERY == 0:
            self._round_with_a_stuck_watermark()
        else:
            self._compare(self._fault() if self._number % FAULT_EVERY == 0 else None)
        self._counts.rounds = self._number
        self._report(f"round {self._number} ({time.monotonic() - begun:.0f} s): {self._counts}")

    def _compare(self, fault: Fault | None) -> None:
        for result in self._results_of_round():
            self._judge(result, fault if fault and fault.company == result.company else None)

    def _round_with_a_stuck_watermark(self) -> None:
        """One company's watermark stands: its result says so and proves nothing newer, the others are as ever."""
        counts = self._counts
        company = self._companies[0]
        counts.faults = counted(counts.faults, STUCK)
        source = self._pipeline.source
        with self._maker.stopped_watermark(company):
            source.insert(FIRST_NUMBER + source.version() * ROWS, 1, generation=0)  # a version that it cannot reach
            results = self._results_of_round(STUCK_WAIT_SECONDS)
        [result] = [each for each in results if each.company == company.id]
        if result.verdict is Verdict.PASS and result.verified_through < result.through and result.stuck_seconds > 0:
            counts.found = counted(counts.found, STUCK)
        else:
            self._fail(f"company {company.id}: a watermark that stands was judged as {result.summary}")
        for other in results:
            self._judge(other, None)
        self._pipeline.wait_for_version(source.version())
        counts.repaired = counted(counts.repaired, STUCK)

    def _results_of_round(self, wait_seconds: float | None = None) -> list[CompanyResult]:
        moment = datetime.now(UTC) + timedelta(hours=self._number)  # each round has another slice
        config, environment = self._pipeline.config, self._pipeline.environment
        if wait_seconds is not None:
            config = _waiting(config, wait_seconds)
        every_value = self._number % FAULT_EVERY == 0
        wanted = Wanted(f"soak-{self._number}", moment, every_value=every_value, grace_seconds=GRACE_SECONDS)
        this_round = Round(config, environment, DatabricksClient.of(environment), EvidenceStore(environment), wanted)
        ledger = this_round.bring_ledger_forward()
        if ledger.faults:
            self._fail(f"the ledger disagreed with its table: {ledger.faults[:3]}")
        with ThreadPoolExecutor() as tasks:  # side by side, as Airflow's tasks are
            return list(tasks.map(lambda company: this_round.reconcile(company, ledger), self._companies))

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
        """A fault of a random class, on a row that nothing else touches."""
        company, other = self._companies
        makers: list[Callable[[], Fault]] = [
            lambda: self._maker.delete(company, self._key(company)),
            lambda: self._maker.lose_change(company, self._key(company)),
            lambda: self._maker.lose_delete(company, self._key(company)),
            lambda: self._maker.duplicate(company, self._key(company)),
            lambda: self._maker.edit(company, self._key(company)),
            lambda: self._maker.edit_hash(company, self._key(company)),
            lambda: self._maker.copy(other, self._key(other), company),
        ]
        fault = self._random.choice(makers)()
        self._counts.faults = counted(self._counts.faults, fault.kind.value)
        return fault

    def _key(self, company: Company) -> str:
        """A key that no fault has had. When a company's are used up, new rows are made for all."""
        if not self._keys.get(company.id):
            self._keys.update(self._maker.prepare(self._pipeline.source.version()))
        return self._keys[company.id].pop()


def _waiting(config: Config, seconds: float) -> Config:
    """The configuration with another time for a watermark to reach the cut."""
    reconciliation = config.pipeline.reconciliation.model_copy(update={"wait_seconds": seconds})
    return config.model_copy(update={"pipeline": config.pipeline.model_copy(update={"reconciliation": reconciliation})})
