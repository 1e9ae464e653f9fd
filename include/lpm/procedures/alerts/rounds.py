"""A round of alerting: read the state, evaluate, write it, tell people, write what was not taken."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from lpm.clients.evidence import EvidenceStore
from lpm.procedures.alerts import telling
from lpm.procedures.alerts.ended import keep_ended
from lpm.procedures.alerts.evaluation import Round, Rules, evaluate
from lpm.procedures.alerts.observations import Observation, Subject, subjects_of
from lpm.procedures.alerts.state import Acknowledgement, Dag, Incident, Notice, State
from lpm.procedures.outcome import ProcedureError

ACKNOWLEDGED = "alerts/acknowledged/"


@dataclass(frozen=True)
class Told:
    """What a round of alerting did."""

    incidents: tuple[Incident, ...]
    notices: tuple[Notice, ...]
    undelivered: int  # deliveries that wait for the next round

    @property
    def open(self) -> tuple[Incident, ...]:
        """The incidents that people were told of."""
        return tuple(incident for incident in self.incidents if incident.fired_at)


def state_name(dag: Dag) -> str:
    """Where the state of a DAG's alerts is kept. One writer each: the DAGs run side by side."""
    return f"alerts/state-{dag}.json"


def alert_round(  # noqa: PLR0913  the last two are for tests and for rounds by hand
    rules: Rules,
    store: EvidenceStore,
    observations: Sequence[Observation],
    links: telling.Links,
    *,
    now: datetime | None = None,
    expected: Sequence[Subject] | None = None,
) -> Told:
    """Evaluate a DAG's alerts and tell people. What was decided is kept before anyone is told, so nothing is lost by
    dying in between; what was told and not noted is told again.

    Args:
        rules: What is evaluated, and for which environment.
        store: Where the state is.
        observations: What the DAG observed.
        links: For the messages.
        now: The moment of the round (UTC); this one when absent.
        expected: The subjects that had to be observed; all of the environment when absent.

    Raises:
        EvidenceError: the state cannot be read or written.
    """
    subjects, before = subjects_of(rules.config, rules.environment), read_state(store, rules.dag)
    seen = Round(
        now=now or datetime.now(UTC),
        observations=observations,
        subjects=subjects,
        expected=subjects if expected is None else tuple(expected),
        acknowledgements=acknowledgements(store, before.incidents),
    )
    state, notices = evaluate(rules, seen, before)
    keep_ended(store, rules.dag, [notice.incident for notice in notices if notice.kind == "resolved"], seen.now)
    state = state.model_copy(update={"outbox": (*state.outbox, *telling.deliveries(notices, links.run))})
    store.write(state_name(rules.dag), state.model_dump_json(indent=1))
    if state.outbox:
        state = state.model_copy(update={"outbox": telling.deliver(state.outbox, rules, links.base)})
        store.write(state_name(rules.dag), state.model_dump_json(indent=1))
    return Told(state.incidents, notices, len(state.outbox))


def read_state(store: EvidenceStore, dag: Dag) -> State:
    """The state of a DAG's alerts, empty before the first round.

    Raises:
        ProcedureError: it cannot be understood; a person decides whether to throw it away.
    """
    text = store.read(state_name(dag))
    if text is None:
        return State()
    try:
        return State.model_validate_json(text)
    except ValidationError as error:
        raise ProcedureError(
            f"{state_name(dag)} is not a state of alerts: {error}\n"
            "Next step: if the file is beyond mending delete it; every alert that is still true fires again."
        ) from error


def acknowledgement_name(alert: str, subject: Subject) -> str:
    """Where the newest acknowledgement of an alert about a subject is kept. A company's id is no file name."""
    return f"{ACKNOWLEDGED}{alert}/{hashlib.sha256(str(subject).encode()).hexdigest()[:16]}.json"


def acknowledgements(store: EvidenceStore, incidents: Sequence[Incident]) -> tuple[Acknowledgement, ...]:
    """The acknowledgements that were given for some incidents, or for earlier ones of the same alert and subject."""
    wanted = {acknowledgement_name(incident.alert, incident.subject) for incident in incidents if incident.fired_at}
    texts = [store.read(name) for name in store.names(ACKNOWLEDGED) if name in wanted] if wanted else []
    return tuple(Acknowledgement.model_validate_json(text) for text in texts if text)


def open_incidents(store: EvidenceStore) -> tuple[Incident, ...]:
    """The incidents that people were told of, of all DAGs."""
    dags: tuple[Dag, ...] = ("monitor", "reconcile")
    return tuple(incident for dag in dags for incident in read_state(store, dag).incidents if incident.fired_at)
