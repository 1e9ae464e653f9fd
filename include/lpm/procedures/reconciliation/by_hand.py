"""Repair and redrive as an operator asks for them."""

from collections.abc import Sequence
from datetime import UTC, datetime

from lpm.clients.databricks import DatabricksClient
from lpm.clients.event_hubs import EventHub
from lpm.clients.target_database import TargetDatabase
from lpm.config import Company, Config, Environment
from lpm.procedures.outcome import Outcome, ProcedureError
from lpm.procedures.reconciliation.comparison import Difference, Kind
from lpm.procedures.reconciliation.ledger import Slice
from lpm.procedures.reconciliation.redrive import Chosen, redrive
from lpm.procedures.reconciliation.repair import Repairer
from lpm.procedures.reconciliation.settling import still_differing
from lpm.procedures.reconciliation.source import Source


def repair_company(  # noqa: PLR0913  what an operator can choose
    config: Config,
    environment: Environment,
    databricks: DatabricksClient,
    company: Company,
    *,
    keys: Sequence[str] | None,
    buckets: tuple[int, int],
    dry_run: bool,
) -> Outcome:
    """Make some keys of a company right, or every key of a range of buckets when none is named.

    Raises:
        ProcedureError: the range is empty, or keys are still not right at the end.
        EventHubError: the hub did not take an event.
    """
    if buckets[0] > buckets[1]:
        raise ProcedureError(f"first_bucket {buckets[0]} is above last_bucket {buckets[1]}\nNext step: exchange them.")
    source = Source(config, environment, databricks)
    with TargetDatabase.connect(config, environment, company) as database:
        repairer = Repairer(source, database, EventHub.of_shard(environment, company.shard), dry_run=dry_run)
        done = repairer.keys(keys) if keys else repairer.buckets(Slice(*buckets))
        if dry_run:
            return Outcome(False, f"company {company.id}: dry run: would send {done.summary}")
        if keys:
            suspects = {key: Difference(key, Kind.MISSING) for key in keys if key not in done.unsendable}
            if remaining := still_differing(source, database, done.version, suspects):
                raise ProcedureError(
                    f"company {company.id}: {len(remaining)} of {len(keys)} keys are still not right, the first is "
                    f"{remaining[0].key_hash} ({remaining[0].kind})\n"
                    "Next step: look for the key in lpm.quarantine of the database; redrive after the cause is mended."
                )
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
    since, until = map(_moment, times)
    hub = EventHub.of_shard(environment, company.shard)
    with TargetDatabase.connect(config, environment, company) as database:
        chosen = Chosen(reason, since, until)
        return redrive(Source(config, environment, databricks), database, hub, chosen, dry_run=dry_run)


def _moment(text: str | None) -> datetime | None:
    """A moment as the form gives it; without a zone it is UTC."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
