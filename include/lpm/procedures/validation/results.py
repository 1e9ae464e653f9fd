"""What a validation says, as it is kept and shown."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from lpm.clients.evidence import EvidenceStore, keep_as_latest, latest_name
from lpm.config.test_plan import TestPlan
from lpm.procedures.record import Record

FOLDER = "validate"
LATEST = latest_name(FOLDER)
NOT_ASKED_FOR = "not asked for in this run"
NO_RESULT = "the task ended without a result; see its log in Airflow"


class Verdict(StrEnum):
    """Skipped is never passed."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class LastRun(Record):
    """When a case that was skipped now last ran, and how it ended. Times are UTC."""

    verdict: Verdict
    began: datetime
    seconds: float


class CaseResult(Record):
    """One case in one run. ``seen`` is for people.

    ``measured`` by name: counts, or seconds from commit to visible. ``seconds`` is the whole case, clean-up included.
    """

    case: str
    verdict: Verdict
    reason: str = ""  # why it failed or was skipped
    began: datetime | None = None  # None: it did not begin
    seconds: float = 0.0
    measured: Mapping[str, float] = {}
    seen: tuple[str, ...] = ()
    last_run: LastRun | None = None  # of a case that was skipped

    @property
    def as_last_run(self) -> LastRun | None:
        """The newest time that the case really ran: this one, or the one remembered."""
        if self.verdict is Verdict.SKIPPED or self.began is None:
            return self.last_run
        return LastRun(verdict=self.verdict, began=self.began, seconds=self.seconds)


class Validation(Record):
    """One run: a result for every case of the plan. ``not_clean``: what could not be removed, empty when all was."""

    environment: str
    run: str  # address of the run in Airflow
    disruptive: bool
    began: datetime
    ended: datetime
    not_clean: str
    results: tuple[CaseResult, ...]

    def of(self, case_id: str) -> CaseResult | None:
        """The result of a case; None when the run's plan did not have it yet."""
        return next((result for result in self.results if result.case == case_id), None)

    def count(self, verdict: Verdict) -> int:
        """How many cases ended so."""
        return sum(result.verdict is verdict for result in self.results)

    @property
    def summary(self) -> str:
        """One line for people."""
        counts = ", ".join(f"{self.count(verdict)} {verdict}" for verdict in Verdict)
        return f"{len(self.results)} cases: {counts}" + ("" if not self.not_clean else "; canary rows are left")


def complete(
    plan: TestPlan, asked: Sequence[str], found: Iterable[CaseResult], before: Validation | None
) -> tuple[CaseResult, ...]:
    """A result for every case of the plan, in its order.

    A case that was asked for and has none has failed: somebody ended its task. One that was not asked for is skipped.
    What is skipped remembers when it last ran.
    """
    by_case = {result.case: result for result in found}
    results = []
    for case in plan.cases:
        result = by_case.get(case.id)
        if result is None:
            lost = case.id in asked
            verdict, reason = (Verdict.FAILED, NO_RESULT) if lost else (Verdict.SKIPPED, NOT_ASKED_FOR)
            result = CaseResult(case=case.id, verdict=verdict, reason=reason)
        if result.verdict is Verdict.SKIPPED and before and (earlier := before.of(case.id)):
            result = result.model_copy(update={"last_run": earlier.as_last_run})
        results.append(result)
    return tuple(results)


def keep(store: EvidenceStore, validation: Validation) -> str:
    """Keep a validation as evidence, by its time and as the latest. Returns its name.

    Raises:
        EvidenceError: the store cannot be reached or refuses.
    """
    return keep_as_latest(store, FOLDER, validation.began, validation.model_dump_json(indent=2))


def latest(store: EvidenceStore) -> Validation | None:
    """The validation that was kept last, None when there is none."""
    text = store.read(LATEST)
    return None if text is None else Validation.model_validate_json(text)
