"""The code of each case of ``test_plan.yml``, by its id."""

from collections.abc import Callable, Mapping

from lpm.procedures.validation.canaries import Canaries, Seen
from lpm.procedures.validation.cases import access, changes, deliveries, refusals, stops

CASES: Mapping[str, Callable[[Canaries], Seen]] = {
    "insert": changes.insert,
    "update": changes.update,
    "delete": changes.delete,
    "company-move": changes.company_move,
    "duplicate-delivery": deliveries.duplicate_delivery,
    "late-event": deliveries.late_event,
    "poison-row": refusals.poison_row,
    "unconvertible-event": refusals.unconvertible_event,
    "unknown-company": refusals.unknown_company,
    "burst": deliveries.burst,
    "latency-objective": deliveries.latency_objective,
    "reader-cannot-write": access.reader_cannot_write,
    "reader-stays-home": access.reader_stays_home,
    "router-restart": stops.router_restart,
    "router-pause": stops.router_pause,
    "stream-pause": stops.stream_pause,
}
