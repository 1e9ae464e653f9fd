"""A round of reconciliation as its DAG runs it: the ledger first, then each company by itself."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from lpm.clients.databricks import DatabricksClient
from lpm.clients.event_hubs import EventHub
from lpm.clients.evidence import EvidenceStore
from lpm.clients.target_database import TargetDatabase
from lpm.config import Company, Config, Environment
from lpm.procedures.reconciliation import ledger
from lpm.procedures.reconciliation.batch import Batch
from lpm.procedures.reconciliation.company import CompanyReconciliation, Findings, Request, buckets_together
from lpm.procedures.reconciliation.comparison import Difference
from lpm.procedures.reconciliation.ledger import Ledger, Slice
from lpm.procedures.reconciliation.repair import Repairer
from lpm.procedures.reconciliation.result import CompanyResult, Verdict, VerifiedThrough
from lpm.procedures.reconciliation.settling import first_still_differing, still_differing
from lpm.procedures.reconciliation.source import Source

BATCH_SECONDS = 30 * 60.0  # of a batch run: the round has an hour

TIDYING_HOUR = 3  # UTC; of the end of the hour that a round is for


@dataclass(frozen=True)
class Wanted:
    """What was asked for. ``moment`` is the end of the hour that the round is for; it chooses the slices."""

    run_id: str
    moment: datetime
    every_bucket: bool = False  # instead of those that changed, for large companies too
    every_value: bool = False  # instead of the slice whose turn it is
    repair: bool = True
    ledger_anew: bool = False
    grace_seconds: float | None = None  # instead of the configured ones
    batch_above: int | None = None  # differing keys; instead of the configured number

    @property
    def tidies(self) -> bool:
        """Whether it is the round of the day that also forgets what nobody needs any more."""
        return self.moment.hour == TIDYING_HOUR

    @property
    def folder(self) -> str:
        """Where the evidence of the round is kept."""
        return f"reconcile/evidence/{self.moment:%Y-%m-%d}/{self.run_id.replace(':', '-').replace('/', '-')}"


@dataclass(frozen=True)
class Round:
    """One round in one environment."""

    config: Config
    environment: Environment
    databricks: DatabricksClient
    store: EvidenceStore
    wanted: Wanted

    @property
    def source(self) -> Source:
        """The source table."""
        return Source(self.config, self.environment, self.databricks)

    def bring_ledger_forward(self) -> Ledger:
        """The ledger at the source's latest version, which is the cut of the round.

        Raises:
            StatementFailed: the source or its change feed cannot be read.
        """
        hours = self.config.pipeline.reconciliation.ledger_hours
        check = Slice.everything() if self.wanted.every_bucket else Slice.of_hour(self.wanted.moment, hours)
        moved = ledger.bring_forward(self.source, self.databricks, check, anew=self.wanted.ledger_anew)
        # No round asks for sums below what every company is verified through.
        proven = min(self.verified_through(company).version for company in self.config.companies)
        if self.wanted.tidies and proven >= 0:
            self.databricks.run_sql(self.source.queries.compact_ledger(proven), timeout_seconds=3600)
        return moved

    def reconcile(self, company: Company, moved: Ledger) -> CompanyResult:
        """Compare one company, repair what differs if that is wanted, keep the evidence and how far it is verified.

        Raises:
            TargetDatabaseError, DatabricksError, EventHubError, EvidenceError: a part cannot be reached; see
                :meth:`error`.
        """
        before = self.verified_through(company)
        with TargetDatabase.connect(self.config, self.environment, company) as database:
            rows = moved.row_counts.get(company.id, 0)
            request = self._request(rows, before)
            findings = CompanyReconciliation(self.source, database, moved.through, request).run()
            remaining = findings.differences
            if findings.differences and self.wanted.repair:
                remaining = self._repair(database, findings)
            if self.wanted.tidies:
                database.purge_tombstones(self.config.pipeline.retention.tombstone_days)
        counted = replace(findings, result=findings.result.model_copy(update={"rows": rows}))
        return self._keep(company, before, counted, remaining)

    def verified_through(self, company: Company) -> VerifiedThrough:
        """How far the company is proven, without a gap."""
        text = self.store.read(_state_name(company))
        return VerifiedThrough.model_validate_json(text) if text else VerifiedThrough()

    def error(self, company: Company, reason: str) -> CompanyResult:
        """The result of a company whose comparison failed. It is verified no further than before."""
        before = self.verified_through(company)
        return CompanyResult(
            company=company.id,
            at=self.wanted.moment,
            verdict=Verdict.ERROR,
            reason=reason,
            verified_through=before.version,
            verified_at=before.at,
        )

    def _since(self, rows: int, before: VerifiedThrough) -> int:
        small = rows < self.config.pipeline.reconciliation.full_below_rows
        return -1 if small or self.wanted.every_bucket else before.version

    def _request(self, rows: int, before: VerifiedThrough) -> Request:
        settings, wanted = self.config.pipeline.reconciliation, self.wanted
        since = self._since(rows, before)
        return Request(
            since=since,
            width=buckets_together(rows, since),
            deep=Slice.everything() if wanted.every_value else Slice.of_hour(wanted.moment, settings.deep_hours),
            grace_seconds=settings.grace_seconds if wanted.grace_seconds is None else wanted.grace_seconds,
            wait_seconds=settings.wait_seconds,
            evidence_keys=settings.evidence_keys,
        )

    def _repair(self, database: TargetDatabase, findings: Findings) -> tuple[Difference, ...]:
        """What still differs after the repair."""
        suspects = {difference.key_hash: difference for difference in findings.differences}
        repairer = Repairer(self.source, database, EventHub.of_shard(self.environment, database.company.shard))
        if len(suspects) > self._batch_above:
            version = self._repair_by_batch_run(database, repairer, Slice.around(suspects))
        else:
            version = repairer.keys(suspects).version
        return still_differing(self.source, database, version, suspects)

    @property
    def _batch_above(self) -> int:
        wanted = self.wanted.batch_above
        return self.config.pipeline.reconciliation.repair_keys if wanted is None else wanted

    def _repair_by_batch_run(self, database: TargetDatabase, repairer: Repairer, wanted: Slice) -> int:
        """Repair a range of buckets, and give the database time for that many rows. The version that was sent."""
        company, source = database.company.id, self.source
        version = source.latest_version()
        Batch(self.environment, self.databricks, BATCH_SECONDS).repair(repairer, company, version, wanted)
        rows = source.count_rows(company, version, wanted.first, wanted.last)
        first_still_differing(source, database, version, wanted, rows)
        return version

    def _keep(
        self, company: Company, before: VerifiedThrough, findings: Findings, remaining: tuple[Difference, ...]
    ) -> CompanyResult:
        found, kept = findings.differences, self.config.pipeline.reconciliation.evidence_keys
        after = before.after(findings.result)
        result = findings.result.model_copy(
            update={
                "verified_through": after.version,
                "verified_at": after.at,
                "repaired": len(found) - len(remaining),
                "evidence": f"{self.wanted.folder}/{company.slug}.json" if found else "",
            }
        )
        if found:
            self.store.write(result.evidence, _evidence(result, findings, found[:kept], remaining[:kept]))
        if after != before:
            self.store.write(_state_name(company), after.model_dump_json(indent=2))
        return result


def _evidence(
    result: CompanyResult, findings: Findings, found: tuple[Difference, ...], remaining: tuple[Difference, ...]
) -> str:
    document: Mapping[str, object] = {
        "result": result.model_dump(mode="json"),
        "differences": [asdict(each) for each in found],
        "rows": {key_hash: asdict(row) for key_hash, row in findings.rows.items()},
        "after_repair": [asdict(each) for each in remaining],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _state_name(company: Company) -> str:
    return f"reconcile/verified/{company.slug}.json"
