"""What follows from a round of observations: a new state and the notices to send. Pure.

An alert about a subject fires once, when its condition has lasted long enough; is repeated and escalated while nobody
has acknowledged it; and ends once, when an observation says that the condition is over. A missing observation is
neither good nor bad: it leaves things as they are and is itself the signal ``monitor_blind``.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from lpm.config import Config, Environment
from lpm.config.alerts import Alert, Alerts, is_met
from lpm.config.signals import MONITOR_BLIND, NOTICES_UNDELIVERED, SIGNALS
from lpm.procedures.alerts.observations import Observation, Subject, concerns
from lpm.procedures.alerts.state import Acknowledgement, Dag, Incident, Notice, NoticeKind, State

NOT_OBSERVED = "not observed in this round"
NO_LONGER_CONFIGURED = "the alert or its subject is no longer configured"
REASONS_SHOWN = 5


@dataclass(frozen=True)
class Rules:
    """What one DAG evaluates in one environment."""

    config: Config
    settings: Alerts
    environment: Environment
    dag: Dag

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """The alerts of this DAG."""
        return self.settings.evaluated_by(self.dag)

    def channels(self, *routes: str) -> tuple[str, ...]:
        """The channels of some routes that serve the environment, each once."""
        named = [name for route in routes for name in self.settings.channels_of(route, self.environment.name)]
        return tuple(dict.fromkeys(named))


@dataclass(frozen=True)
class Round:
    """One look at everything, or at some subjects only.

    Attributes:
        now: When (UTC).
        observations: What was found.
        subjects: Everything that is configured; an incident about anything else has ended.
        expected: The subjects that this round had to look at; what is not known about them makes it blind.
        acknowledgements: All that were ever given.
    """

    now: datetime
    observations: Sequence[Observation]
    subjects: Sequence[Subject]
    expected: Collection[Subject]
    acknowledgements: Sequence[Acknowledgement] = ()


Step = tuple[Incident | None, Notice | None]  # what becomes of an incident, and what is told of it


def evaluate(rules: Rules, seen: Round, state: State) -> tuple[State, tuple[Notice, ...]]:
    """The state after a round, and what to tell. ``state`` is as the last evaluation left it."""
    known = {(found.signal, found.subject): found for found in seen.observations if found.value is not None}
    not_known = _not_known(rules, seen, known)
    own = [*_blindness(seen, not_known), _undelivered(rules.environment.name, state)]
    known |= {(found.signal, found.subject): found for found in own}
    before = {(incident.alert, incident.subject): incident for incident in state.incidents}
    judge = _Judge(rules, seen, state)
    steps: list[Step] = []
    for alert in rules.alerts:
        for subject in (subject for subject in seen.subjects if concerns(alert.signal, subject)):
            incident = before.pop((alert.id, subject), None)
            steps.append(judge.step(alert, incident, known.get((alert.signal, subject))))
    steps += [(None, _gone(incident, rules.settings)) for incident in before.values()]
    after = state.model_copy(
        update={
            "evaluated_at": seen.now,
            "incidents": tuple(incident for incident, _ in steps if incident),
            "not_known": tuple(sorted(f"{found.signal} {found.subject}" for found in not_known)),
        }
    )
    return after, tuple(notice for _, notice in steps if notice)


def _not_known(rules: Rules, seen: Round, known: Collection[tuple[str, Subject]]) -> list[Observation]:
    """What this round had to find out and did not, with the reason if the observer gave one."""
    reasons = {(found.signal, found.subject): found for found in seen.observations if found.value is None}
    wanted = sorted({alert.signal for alert in rules.alerts} | {signal for signal, _ in reasons})
    return [
        reasons.get((signal, subject))
        or Observation(signal=signal, subject=subject, value=None, detail="no observation arrived")
        for subject in seen.expected
        for signal in wanted
        if SIGNALS[signal].always
        and SIGNALS[signal].observed_by != "each"
        and concerns(signal, subject)
        and (signal, subject) not in known
    ]


def _blindness(seen: Round, not_known: Sequence[Observation]) -> Iterator[Observation]:
    by_subject: dict[Subject, list[Observation]] = {}
    for found in not_known:
        by_subject.setdefault(found.subject, []).append(found)
    for subject in seen.expected:
        missing = by_subject.get(subject, [])
        causes = list(dict.fromkeys(found.detail for found in missing))
        names = ", ".join(found.signal for found in missing)
        detail = f"not known: {names}; {'; '.join(causes[:REASONS_SHOWN])}" if missing else ""
        yield Observation(signal=MONITOR_BLIND, subject=subject, value=len(missing), detail=detail)


def _undelivered(environment: str, state: State) -> Observation:
    failed = [delivery for delivery in state.outbox if delivery.tries]
    details = [f"{delivery.channel}: {delivery.error}" for delivery in failed]
    return Observation(
        signal=NOTICES_UNDELIVERED,
        subject=Subject(kind="environment", name=environment),
        value=sum(len(delivery.notices) for delivery in failed),
        detail="; ".join(dict.fromkeys(details)),
    )


@dataclass(frozen=True)
class _Judge:
    """Judges one alert about one subject at a time."""

    rules: Rules
    seen: Round
    state: State

    def step(self, alert: Alert, incident: Incident | None, found: Observation | None) -> Step:
        """What becomes of an incident, or whether one begins."""
        if found is None or found.value is None:
            return self._remind(alert, incident, NOT_OBSERVED) if incident else (None, None)
        if not is_met(alert.when, found.value, self.rules.config):
            over = incident.model_copy(update={"value": found.value, "detail": found.detail}) if incident else None
            return None, _notice("resolved", alert, over, "") if over and over.fired_at else None
        incident = incident or Incident(
            alert=alert.id,
            subject=found.subject,
            since=self.seen.now,
            value=found.value,
            last_good=self._round_before(found),
        )
        last_good = found.last_good or incident.last_good
        newest = {"value": found.value, "detail": found.detail, "last_good": last_good}
        incident = incident.model_copy(update=newest)
        return self._remind(alert, incident, "") if incident.fired_at else self._fire(alert, incident)

    def _round_before(self, found: Observation) -> datetime | None:
        """The round before, in which the condition was not met; None when that round did not know."""
        return None if f"{found.signal} {found.subject}" in self.state.not_known else self.state.evaluated_at

    def _fire(self, alert: Alert, incident: Incident) -> Step:
        if self.seen.now - incident.since < alert.lasting:
            return incident, None
        incident = incident.model_copy(update={"fired_at": self.seen.now})
        return self._tell("fired", alert, incident, [alert.route], "")

    def _remind(self, alert: Alert, incident: Incident, note: str) -> Step:
        """Repeat or escalate what has fired, unless somebody looks after it."""
        fired_at = incident.fired_at
        if fired_at is None:
            return incident, None
        newest = _acknowledgement(incident, self.seen.acknowledgements)
        incident = incident.model_copy(update={"acknowledged": newest})
        if newest and newest.until > self.seen.now:
            return incident, None
        alone_since = max(fired_at, newest.until) if newest else fired_at
        escalation = alert.escalate
        if escalation and incident.escalated_at is None and self.seen.now - alone_since >= escalation.after:
            incident = incident.model_copy(update={"escalated_at": self.seen.now})
            return self._tell("escalated", alert, incident, [alert.route, escalation.route], note)
        if self.seen.now - max(incident.told_at or alone_since, alone_since) >= alert.repeat:
            routes = [alert.route, *([escalation.route] if escalation and incident.escalated_at else [])]
            return self._tell("repeated", alert, incident, routes, note)
        return incident, None

    def _tell(self, kind: NoticeKind, alert: Alert, incident: Incident, routes: list[str], note: str) -> Step:
        channels = self.rules.channels(*routes)
        told = tuple(dict.fromkeys((*incident.channels, *channels)))
        incident = incident.model_copy(update={"told_at": self.seen.now, "channels": told})
        return incident, _notice(kind, alert, incident, note, channels)


def _notice(
    kind: NoticeKind, alert: Alert, incident: Incident, note: str, channels: tuple[str, ...] | None = None
) -> Notice:
    """A notice for some channels; without them for all that were told of the incident."""
    return Notice(
        kind=kind,
        incident=incident,
        title=alert.title,
        severity=alert.severity,
        condition=str(alert.when),
        unit=SIGNALS[alert.signal].unit,
        runbook=alert.runbook,
        channels=incident.channels if channels is None else channels,
        note=note,
    )


def _acknowledgement(incident: Incident, given: Sequence[Acknowledgement]) -> Acknowledgement | None:
    """The newest one that was given after this incident fired: an old one must not silence a new incident."""
    fitting = [
        one
        for one in given
        if (one.alert, one.subject) == (incident.alert, incident.subject)
        and incident.fired_at is not None
        and one.at >= incident.fired_at
    ]
    return max(fitting, key=lambda one: one.at, default=None)


def _gone(incident: Incident, settings: Alerts) -> Notice | None:
    """The end of an incident whose alert or subject is no longer configured."""
    if incident.fired_at is None:
        return None
    alert = next((known for known in settings.alerts if known.id == incident.alert), None)
    if alert:
        return _notice("resolved", alert, incident, NO_LONGER_CONFIGURED)
    return Notice(
        kind="resolved",
        incident=incident,
        title=incident.alert,
        severity="info",
        condition="",
        unit="",
        runbook="",
        channels=incident.channels,
        note=NO_LONGER_CONFIGURED,
    )
