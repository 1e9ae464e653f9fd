"""Large repairs: a batch run on Databricks sends a company's rows, from where they are straight to the hub.

Keys that only the target has are not in the source: their deletes go from here through the Event Hub, as in every
repair, range by range.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass

from lpm.clients.databricks import DatabricksClient, DatabricksError, Job, Run
from lpm.config import Environment
from lpm.procedures.outcome import ProcedureError
from lpm.procedures.reconciliation.ledger import Slice
from lpm.procedures.reconciliation.repair import Repair, Repairer
from lpm.procedures.waiting import wait_until
from lpm.render import names

PAUSE_SECONDS = 3.0
PRINTED = "backfill: "  # begins the line that the run prints (stream_job.backfill)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchRepair:
    """What a large repair did: the batch run that sent the rows, what it printed, and the deletes."""

    run: Run
    printed: str
    extras: Repair

    @property
    def summary(self) -> str:
        """One line for people."""
        told = self.printed or "rows sent"
        return f"batch run {self.run.id}: {told}; {self.extras.deletes} deletes; as of version {self.extras.version}"


@dataclass(frozen=True)
class Batch:
    """How to repair by batch run. ``wait_seconds``: how long a run may take, with its time in the queue."""

    environment: Environment
    databricks: DatabricksClient
    wait_seconds: float

    def repair(self, repairer: Repairer, company: str, version: int, wanted: Slice) -> BatchRepair:
        """Make every key of a range of buckets what the source says at ``version``.

        Raises:
            ProcedureError: the job was never deployed, or the run failed or took too long.
            EventHubError: the hub did not take a delete.
        """
        run = self.send(company, version, wanted)
        lines = [line for line in self.databricks.run_output(run).splitlines() if line.startswith(PRINTED)]
        printed = lines[-1].removeprefix(PRINTED) if lines else ""
        return BatchRepair(run, printed, repairer.extras(wanted, version))

    def send(self, company: str, version: int, wanted: Slice) -> Run:
        """Send the company's rows of a range of buckets as they are at ``version``, and wait for the run's end.

        Raises:
            ProcedureError: as for :meth:`repair`; with the run's error and its page.
        """
        job = self._job()
        run_id = self.databricks.run_now(
            job.id,
            {
                **job.settings["tasks"][0]["python_wheel_task"]["named_parameters"],
                "company": company,
                "version": str(version),
                "first_bucket": str(wanted.first),
                "last_bucket": str(wanted.last),
            },
        )
        page = self.databricks.run(run_id).page
        log.info("company %s: started run %d of %s: %s", company, run_id, job.name, page)
        run = self._ended(job, run_id, page)
        if run.result != "SUCCESS":
            error = self.databricks.run_error(run) or run.message
            raise ProcedureError(
                f"company {company}: run {run.id} of {job.name} ended as {run.result or run.state}: {error}\n"
                f"Next step: remove the cause, then trigger again: nothing is applied twice. {page}"
            )
        return run

    def _job(self) -> Job:
        name = names.backfill_job_name(self.environment)
        if job := self.databricks.find_job(name):
            return job
        raise ProcedureError(f"there is no Databricks job {name}\nNext step: run deploy_stream, which creates it.")

    def _ended(self, job: Job, run_id: int, page: str) -> Run:
        try:
            wait_until(
                lambda: not self.databricks.run(run_id).is_active,
                f"end of run {run_id} of {job.name}, which was cancelled",
                self.wait_seconds,
                f"see {page}; trigger repair, which waits longest, perhaps for a part of the buckets.",
                pause_seconds=PAUSE_SECONDS,
            )
        except BaseException:  # also a task that Airflow ends: nobody waits for the run any more
            with suppress(DatabricksError):
                self.databricks.cancel_run(run_id)
            raise
        return self.databricks.run(run_id)
