"""A validation, step by step: what is asked for, one case, the clean-up, what is kept."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lpm.clients.azure_resource_manager import ResourceManager
from lpm.clients.databricks import DatabricksClient
from lpm.clients.evidence import EvidenceStore
from lpm.clients.stream_analytics import StreamingJobs
from lpm.clients.target_access import drop_consumers
from lpm.config import Config, Environment
from lpm.config.errors import did_you_mean
from lpm.config.test_plan import Case, TestPlan
from lpm.procedures.control import Action, control_router, control_stream, stream_job
from lpm.procedures.deploy_router import is_started, job_names
from lpm.procedures.outcome import Outcome, ProcedureError
from lpm.procedures.validation.canaries import Canaries, CaseSkipped, Seen, pair
from lpm.procedures.validation.cases import CASES
from lpm.procedures.validation.results import CaseResult, Validation, Verdict, complete, keep, latest

DISRUPTIVE = "it stops a part that other companies share; trigger validate with disruptive to run it"


@dataclass(frozen=True)
class Runner:
    """One run of validate in one environment."""

    config: Config
    environment: Environment
    databricks: DatabricksClient
    plan: TestPlan

    def chosen(self, asked: Sequence[str] | None) -> list[str]:
        """Ids of the cases asked for, all when none is named, in the order of the plan.

        Raises:
            ProcedureError: a case is unknown; names the nearest.
        """
        known = [case.id for case in self.plan.cases]
        for case in asked or ():
            if case not in known:
                near = did_you_mean(case, known)
                raise ProcedureError(f"unknown case {case!r}; expected some of {', '.join(known)}{near}")
        return [case for case in known if not asked or case in asked]

    def would_run(self, cases: Sequence[str], *, disruptive: bool) -> Outcome:
        """What :meth:`run` would do with these cases."""
        chosen = [case for case in map(self.plan.case, cases) if disruptive or not case.disruptive]
        lines = tuple(f"{case.id}: {case.title}" for case in chosen)
        return Outcome(False, f"dry run: would run {len(chosen)} of {len(self.plan.cases)} cases", lines)

    def require_running(self) -> None:
        """See that the stream and the canaries' routers run: without them every case would wait in vain.

        Raises:
            ProcedureError: one does not; names it.
        """
        job = stream_job(self.environment, self.databricks)
        stopped = [job.name] if job.is_paused or not self.databricks.active_runs(job.id) else []
        with ResourceManager(self.environment.azure) as manager:
            jobs = StreamingJobs(manager)
            stopped += [name for name in self._routers() if not is_started(jobs, name)]
        if stopped:
            raise ProcedureError(
                f"not running: {', '.join(stopped)}\nNext step: run control with action resume, then validate again."
            )

    def run(self, case_id: str, *, disruptive: bool) -> CaseResult:
        """Run one case and remove its rows. Whatever goes wrong is in the result."""
        case = self.plan.case(case_id)
        if case.disruptive and not disruptive:
            return CaseResult(case=case.id, verdict=Verdict.SKIPPED, reason=DISRUPTIVE)
        begun, began = time.monotonic(), datetime.now(UTC)
        result = CaseResult(case=case.id, verdict=Verdict.FAILED, began=began)
        try:
            seen = self._run_and_clear(case)
            found: dict[str, object] = {
                "verdict": Verdict.PASSED,
                "measured": {name: round(value, 3) for name, value in seen.measured.items()},
                "seen": seen.lines,
            }
        except CaseSkipped as skipped:
            found = {"verdict": Verdict.SKIPPED, "reason": str(skipped)}
        except Exception as error:  # whatever it was, it is this case's result and no other's
            found = {"reason": "\n".join([str(error) or type(error).__name__, *getattr(error, "__notes__", [])])}
        return result.model_copy(update={**found, "seconds": round(time.monotonic() - begun, 1)})

    def clean_up(self, *, disruptive: bool) -> Outcome:
        """Remove every row, refused event and consumer of validation, and see that they are gone.

        A run that was killed in a disruptive case may have left a part stopped: with ``disruptive`` it runs again.

        Raises:
            CaseFailed: something is left; names it.
        """
        lines: list[str] = []
        if disruptive:
            lines += self._resume()
        for company in pair(self.config):
            lines += [f"dropped consumer {name}" for name in drop_consumers(self.environment, company)]
        with self._canaries(self.plan.rows.key_prefix) as canaries:
            if left := len(canaries.rows()):
                lines.append(f"removed {left} rows")
            canaries.clear()
        return Outcome(bool(lines), "no row of validation is in source, databases or quarantine", tuple(lines))

    def _run_and_clear(self, case: Case) -> Seen:
        with self._canaries() as canaries:
            failure: Exception | None = None
            try:
                seen = CASES[case.id](canaries)
            except Exception as error:
                failure = error
            try:
                canaries.clear()
            except Exception as error:
                if failure is None:
                    raise
                failure.add_note(f"its rows could not be removed either: {error}")
            if failure is not None:
                raise failure
            return seen

    def _canaries(self, mark: str = "") -> Canaries:
        return Canaries(self.config, self.environment, self.databricks, self.plan, mark)

    def _routers(self) -> tuple[str, ...]:
        return job_names(self.config, self.environment, [company.shard for company in pair(self.config)])

    def _resume(self) -> list[str]:
        done = [control_stream(self.environment, self.databricks, Action.RESUME)]
        shards = [company.shard for company in pair(self.config)]
        with ResourceManager(self.environment.azure) as manager:
            done.append(control_router(self.config, self.environment, manager, Action.RESUME, shards))
        return [outcome.summary for outcome in done if outcome.changed]


@dataclass(frozen=True)
class Asked:
    """What a run was asked for, and when it began."""

    cases: tuple[str, ...]
    disruptive: bool
    run: str  # address of the run in Airflow
    began: datetime


def finish(
    runner: Runner, store: EvidenceStore, asked: Asked, results: Iterable[CaseResult], not_clean: str
) -> Outcome:
    """Keep what was found, with a result for every case of the plan.

    Raises:
        EvidenceError: the store cannot be reached or refuses.
    """
    validation = Validation(
        environment=runner.environment.name,
        run=asked.run,
        disruptive=asked.disruptive,
        began=asked.began,
        ended=datetime.now(UTC),
        not_clean=not_clean,
        results=complete(runner.plan, asked.cases, results, latest(store)),
    )
    name = keep(store, validation)
    lines = tuple(_line(result) for result in validation.results)
    return Outcome(False, f"{validation.summary}; kept as {name}", lines)


def _line(result: CaseResult) -> str:
    about = "; ".join(result.seen) or result.reason.replace("\n", "; ")
    return f"{result.case}: {result.verdict}" + (f" in {result.seconds:g} s" if result.began else "") + f": {about}"
