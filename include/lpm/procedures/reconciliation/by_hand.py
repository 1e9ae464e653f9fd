"""Repair and redrive as an operator asks for them."""

from collections.abc import Sequence

from lpm.clients.databricks import DatabricksClient
from lpm.clients.event_hubs import EventHub
from lpm.clients.target_database import TargetDatabase
from lpm.config import Company, Config, Environment
from lpm.contract.values import utc
from lpm.procedures.outcome import Outcome, ProcedureError
from lpm.procedures.reconciliation.batch import Batch
from lpm.procedures.reconciliation.comparison import Difference, Kind
from lpm.procedures.reconciliation.ledger import Slice
from lpm.procedures.reconciliation.redrive import Chosen, redrive
from lpm.procedures.reconciliation.repair import Repair, Repairer
from lpm.procedures.reconciliation.settling import first_still_differing, still_differing
from lpm.procedures.reconciliation.source import Source

BATCH_SECONDS = 4 * 3600.0  # of a batch run; the DAG's own limit is above that


def repair_company(  # noqa: PLR0913  what an operator can choose
    config: Config,
    environment: Environment,
    databricks: DatabricksClient,
    company: Company,
    *,
    keys: Sequence[str] | None,
    buckets: tuple[int, int],
    batch_above: int,
    dry_run: bool,
) -> Outcome:
    """Make some keys of a company right, or every key of a range of buckets when none is named.

    More rows than ``batch_above`` in the range go through a batch run on Databricks.

    Raises:
        ProcedureError: the range is empty, a batch run failed, or keys are still not right at the end.
        EventHubError: the hub did not take an event.
    """
    if buckets[0] > buckets[1]:
        raise ProcedureError(f"first_bucket {buckets[0]} is above last_bucket {buckets[1]}\nNext step: exchange them.")
    source = Source(config, environment, databricks)
    with TargetDatabase.connect(config, environment, company) as database:
        repairer = Repairer(source, database, EventHub.of_shard(environment, company.shard), dry_run=dry_run)
        if keys:
            return _repair_keys(source, database, repairer, keys, dry_run=dry_run)
        wanted, version = Slice(*buckets), source.latest_version()
        rows = source.count_rows(company.id, version, wanted.first, wanted.last)
        if rows <= batch_above:
            return _outcome(company, repairer.buckets(wanted), dry_run=dry_run)
        if dry_run:
            told = f"{rows} rows by a batch run, {repairer.extras(wanted, version).deletes} deletes through the hub"
            return Outcome(False, f"company {company.id}: dry run: would send {told}, as of version {version}")
        done = Batch(environment, databricks, BATCH_SECONDS).repair(repairer, company.id, version, wanted)
        if remaining := first_still_differing(source, database, version, wanted, rows):
            raise _not_right(company, "rows of these buckets", remaining)
        return Outcome(True, f"company {company.id}: {done.summary}", (done.run.page,))


def _repair_keys(
    source: Source, database: TargetDatabase, repairer: Repairer, keys: Sequence[str], *, dry_run: bool
) -> Outcome:
    done = repairer.keys(keys)
    if not dry_run:
        suspects = {key: Difference(key, Kind.MISSING) for key in keys if key not in done.unsendable}
        if remaining := still_differing(source, database, done.version, suspects):
            raise _not_right(database.company, f"{len(remaining)} of {len(keys)} keys", remaining[0])
    return _outcome(database.company, done, dry_run=dry_run)


def _not_right(company: Company, what: str, first: Difference) -> ProcedureError:
    return ProcedureError(
        f"company {company.id}: {what} are still not right, the first is {first.key_hash} ({first.kind})\n"
        "Next step: look for the key in lpm.quarantine of the database; redrive after the cause is mended."
    )


def _outcome(company: Company, done: Repair, *, dry_run: bool) -> Outcome:
    if dry_run:
        return Outcome(False, f"company {company.id}: dry run: would send {done.summary}, through the hub")
    return Outcome(done.upserts + done.deletes > 0, f"company {company.id}: sent {done.summary}")


def redrive_company(  # noqa: PLR0913  what an operator can choose
    config: Config,
    environment: Environment,
    databricks: DatabricksClient,
    company: Company,
    *,
    reason: str | None,
    times: tuple[str | None, str | None],
    dry_run: bool,
) -> Outcome:
    """Send again what the company's database refused and what could not be sent, see :func:`redrive.redrive`."""
    since, until = (utc(time) if time is not None else None for time in times)
    hub = EventHub.of_shard(environment, company.shard)
    with TargetDatabase.connect(config, environment, company) as database:
        chosen = Chosen(reason, since, until)
        return redrive(Source(config, environment, databricks), database, hub, chosen, dry_run=dry_run)
