"""Send again, after a fix, what a target refused or the stream job could not send.

What is sent is the source's row as it is now: an event from then may be out of date. A key whose row is right
afterwards leaves the quarantine; dead letters stay, their table is a record.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from lpm.clients.event_hubs import EventHub
from lpm.clients.target_database import TargetDatabase
from lpm.procedures.outcome import Outcome
from lpm.procedures.reconciliation.comparison import Difference, Kind
from lpm.procedures.reconciliation.repair import Repairer
from lpm.procedures.reconciliation.settling import still_differing
from lpm.procedures.reconciliation.source import Source

NO_KEY = "without key"


@dataclass(frozen=True)
class Chosen:
    """Which events. None means all; times are UTC."""

    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def redrive(
    source: Source, database: TargetDatabase, hub: EventHub, chosen: Chosen, *, dry_run: bool = False
) -> Outcome:
    """Redrive one company's quarantine and dead letters; tells what was there before and what is left.

    Raises:
        EventHubError: the hub did not take an event; nothing has left the quarantine then.
    """
    company = database.company.id
    since, until = _naive(chosen.since), _naive(chosen.until)
    refused = database.refused_events(chosen.reason, since, until)
    dead = source.dead_letters(company, chosen.reason, chosen.since, chosen.until)
    before = _counted("quarantine", (reason if key else f"{reason} {NO_KEY}" for reason, key in refused))
    before += _counted("dead letters", (reason for reason, _ in dead))
    keys = sorted({key for _, key in (*refused, *dead) if key})
    sent = Repairer(source, database, hub, dry_run=dry_run).keys(keys)
    if dry_run or not keys:
        return Outcome(
            False, f"company {company}: dry run: {sent.summary}" if keys else f"no change: {company}", before
        )
    suspects = {key: Difference(key, Kind.MISSING) for key in keys}
    remaining = {each.key_hash for each in still_differing(source, database, sent.version, suspects)}
    remaining |= {*sent.unsendable, *sent.refused}
    gone = database.forget_refused([key for key in keys if key not in remaining])
    left = database.refused_events(chosen.reason, since, until)
    after = _counted("quarantine after", (reason for reason, _ in left))
    return Outcome(
        bool(gone),
        f"company {company}: {sent.summary}; {len(keys) - len(remaining)} keys are right now",
        before + after,
    )


def _naive(moment: datetime | None) -> datetime | None:
    return moment.astimezone(UTC).replace(tzinfo=None) if moment else None


def _counted(what: str, reasons: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{what}: {count} {reason}" for reason, count in sorted(Counter(reasons).items()))
