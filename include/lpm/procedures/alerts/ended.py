"""Incidents that are over: the last ones are kept, so that a runbook can say what has happened before."""

from datetime import datetime

from pydantic import TypeAdapter, ValidationError

from lpm.clients.evidence import Readable, Writable
from lpm.procedures.alerts.state import Dag, Incident
from lpm.procedures.record import Record

ENDED = "alerts/ended-{dag}.json"  # one writer each, as the state
KEPT = 200
DAGS: tuple[Dag, ...] = ("monitor", "reconcile")


class Ended(Record):
    """An incident that people were told of, and when it was over (UTC)."""

    incident: Incident
    ended_at: datetime


_LIST = TypeAdapter(tuple[Ended, ...])


def keep_ended(store: Writable, dag: Dag, incidents: list[Incident], now: datetime) -> None:
    """Add incidents that ended, newest first; those beyond the last :data:`KEPT` are forgotten.

    Adding one again changes nothing, so a round that died in the middle may be repeated.

    Raises:
        EvidenceError: the store cannot be read or written.
    """
    if not incidents:
        return
    name, before = ENDED.format(dag=dag), _read(store, dag)
    known = {one.incident.key for one in before}
    added = [Ended(incident=incident, ended_at=now) for incident in incidents if incident.key not in known]
    store.write(name, _LIST.dump_json((*added, *before)[:KEPT], indent=1).decode())


def read_ended(store: Readable) -> list[Ended]:
    """The incidents of all DAGs that are kept, newest first.

    Raises:
        EvidenceError: the store cannot be read.
    """
    return sorted((one for dag in DAGS for one in _read(store, dag)), key=lambda one: one.ended_at, reverse=True)


def _read(store: Readable, dag: Dag) -> tuple[Ended, ...]:
    """What is kept. A record of the past that cannot be understood must not stop alerting: it begins anew."""
    text = store.read(ENDED.format(dag=dag))
    try:
        return _LIST.validate_json(text) if text else ()
    except ValidationError:
        return ()
