"""What a round tells the alerts."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

from lpm.config import Config, Environment
from lpm.procedures.alerts.observations import Observation, Subject
from lpm.procedures.reconciliation.ledger import Ledger
from lpm.procedures.reconciliation.result import CompanyResult, Verdict

SECONDS_PER_HOUR = 3600


def of_company(result: CompanyResult, now: datetime) -> Iterator[Observation]:
    """What one company's result says. A comparison that could not be made says nothing of differences."""
    subject = Subject(kind="company", name=result.company)
    compared = result.verdict in (Verdict.PASS, Verdict.DIFFER)
    verified = result.verified_at

    def observation(signal: str, value: float | None, detail: str) -> Observation:
        return Observation(signal=signal, subject=subject, value=value, detail=detail, last_good=verified)

    yield observation("reconcile_error", float(result.verdict is Verdict.ERROR), result.reason)
    differences = float(sum(result.differences.values())) if compared else None
    yield observation("reconcile_differences", differences, result.summary)
    hours = (now - verified).total_seconds() / SECONDS_PER_HOUR if verified else None
    yield observation("reconcile_not_verified_hours", hours, "" if verified else f"never verified; {result.summary}")
    stuck = None if result.verdict is Verdict.ERROR else result.stuck_seconds
    yield observation("watermark_stuck_seconds", stuck, f"at version {result.cut}, the source at {result.through}")


def of_ledger(config: Config, environment: Environment, ledger: Ledger) -> Iterator[Observation]:
    """What the ledger says of each company and of companies that nobody has configured."""
    faults = Counter(fault.company for fault in ledger.faults)
    for company in config.companies:
        subject = Subject(kind="company", name=company.id)
        buckets = [str(fault.bucket) for fault in ledger.faults if fault.company == company.id][:10]
        detail = f"put right; first buckets: {', '.join(buckets)}" if buckets else ""
        yield Observation(signal="ledger_disagrees", subject=subject, value=faults[company.id], detail=detail)
    strangers = ledger.unknown_rows({company.id for company in config.companies})
    unknown = ", ".join(f"{company!r}: {rows}" for company, rows in sorted(strangers.items())[:10])
    yield Observation(
        signal="unknown_company_rows",
        subject=Subject(kind="environment", name=environment.name),
        value=sum(strangers.values()),
        detail=unknown,
    )


def of_servers(environment: Environment, unknown: Sequence[str]) -> Observation:
    """Databases that belong to nobody."""
    return Observation(
        signal="unknown_databases",
        subject=Subject(kind="environment", name=environment.name),
        value=len(unknown),
        detail=", ".join(unknown[:10]),
    )
