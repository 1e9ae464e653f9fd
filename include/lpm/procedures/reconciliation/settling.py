"""After a repair: wait until nothing differs any more, or the time is over."""

import time
from collections.abc import Mapping

from lpm.clients.target_database import TargetDatabase
from lpm.procedures.reconciliation.company import CompanyReconciliation, Request
from lpm.procedures.reconciliation.comparison import Difference
from lpm.procedures.reconciliation.source import Source

SETTLE_SECONDS = 120.0
PAUSE_SECONDS = 2.0


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
