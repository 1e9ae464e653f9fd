"""The end of a round: alerts are evaluated, people told, the status written."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from lpm.clients.evidence import EvidenceStore
from lpm.procedures.alerts.evaluation import Rules
from lpm.procedures.alerts.observations import Observation, Subject, unknown
from lpm.procedures.alerts.rounds import alert_round
from lpm.procedures.alerts.telling import Links
from lpm.procedures.outcome import Outcome
from lpm.procedures.reconciliation import observations
from lpm.procedures.reconciliation.ledger import Ledger
from lpm.procedures.reconciliation.result import CompanyResult
from lpm.procedures.status import Verified, report_reconciliation

OF_LEDGER, OF_SERVERS = "unknown_company_rows", "unknown_databases"


@dataclass(frozen=True)
class Found:
    """All that a round found. What a task that failed should have found is None or absent."""

    ledger: Ledger | None
    companies: tuple[str, ...]  # that were to be compared
    results: Sequence[CompanyResult]
    unknown_databases: Sequence[str] | None


def finish_round(rules: Rules, store: EvidenceStore, found: Found, links: Links, now: datetime) -> Outcome:
    """Tell people what changed, and write the status.

    Raises:
        EvidenceError: the store cannot be read or written.
    """
    here = Subject(kind="environment", name=rules.environment.name)
    subjects = [Subject(kind="company", name=company) for company in found.companies]
    told = alert_round(
        rules, store, list(_observations(rules, found, here, now)), links, now=now, expected=[here, *subjects]
    )
    verified = {result.company: _verified(result) for result in found.results}
    report_reconciliation(store, rules.config, rules.environment, rules.settings, verified)
    notices = tuple(
        f"{notice.kind}: {notice.incident.alert} about {notice.incident.subject}" for notice in told.notices
    )
    return Outcome(bool(notices), f"{len(told.open)} open alerts, {len(notices)} notices", notices)


def _observations(rules: Rules, found: Found, here: Subject, now: datetime) -> Sequence[Observation]:
    seen: list[Observation] = []
    if found.ledger:
        seen += observations.of_ledger(rules.config, rules.environment, found.ledger)
    else:
        seen += unknown([OF_LEDGER], here, "the ledger could not be moved")
    if found.unknown_databases is None:
        seen += unknown([OF_SERVERS], here, "the servers could not be read")
    else:
        seen.append(observations.of_servers(rules.environment, found.unknown_databases))
    for result in found.results:
        seen += observations.of_company(result, now)
    return [one for one in seen if one.subject == here or one.subject.name in found.companies]


def _verified(result: CompanyResult) -> Verified:
    return Verified(
        verdict=result.verdict.value,
        at=result.at,
        verified_through=None if result.verified_through < 0 else result.verified_through,
        verified_at=result.verified_at,
        rows=result.rows if result.rows >= 0 else None,
        differences=result.differences,
    )
