"""After a repair: wait until nothing differs any more, or the time is over."""

import time
from collections.abc import Mapping

from lpm.clients.target_database import TargetDatabase
from lpm.procedures.reconciliation.company import BUCKETS_AT_ONCE, CompanyReconciliation, Request
from lpm.procedures.reconciliation.comparison import DEAD_LETTER, Difference
from lpm.procedures.reconciliation.ledger import Slice
from lpm.procedures.reconciliation.source import Source

SETTLE_SECONDS = 120.0
PAUSE_SECONDS = 2.0
ROWS_PER_SECOND = 2_000  # that router and database surely apply


def still_differing(
    source: Source, database: TargetDatabase, version: int, suspects: Mapping[str, Difference]
) -> tuple[Difference, ...]:
    """Those of the suspects that differ from the source at ``version`` when the time is over; none if all is right.

    Raises:
        RuntimeError: the database does not reach that version.
    """
    check = CompanyReconciliation(source, database, version, Request(grace_seconds=0.0, wait_seconds=SETTLE_SECONDS))
    end = time.monotonic() + SETTLE_SECONDS
    while (remaining := check.look_again(suspects)) and time.monotonic() < end:
        time.sleep(PAUSE_SECONDS)
    return tuple(remaining)


def first_still_differing(
    source: Source, database: TargetDatabase, version: int, wanted: Slice, rows: int
) -> Difference | None:
    """A key of a range of buckets that is not what the source says when the time is over; None when all are.

    Compares sums until few buckets differ, at the database's watermark if that is above ``version``. A row that cannot
    be sent is no difference.

    Args:
        source: The source.
        database: The company's database.
        version: The version as of which the rows were sent.
        wanted: The buckets that were sent.
        rows: How many rows were sent; the more, the longer it may take.
    """
    cut = max(version, database.watermark())
    expected = source.sums_of_table(database.company.id, cut, wanted.first, wanted.last)
    check = CompanyReconciliation(source, database, cut, Request())
    end = time.monotonic() + SETTLE_SECONDS + rows / ROWS_PER_SECOND
    while True:
        began = time.monotonic()
        buckets = check.buckets_that_differ(expected, wanted.buckets)
        if len(buckets) <= BUCKETS_AT_ONCE or began > end:
            differing = next((each for each in check.keys_that_differ(buckets) if each.note != DEAD_LETTER), None)
            if differing is None or began > end:
                return differing
        time.sleep(max(PAUSE_SECONDS, time.monotonic() - began))  # looking must not be most of the databases' work
