"""What has to be remembered between two rounds."""

from datetime import datetime
from typing import Literal

from lpm.config.alerts import Severity
from lpm.procedures.alerts.observations import Subject
from lpm.procedures.record import Record

Dag = Literal["monitor", "reconcile"]  # those that observe and evaluate
NoticeKind = Literal["fired", "repeated", "escalated", "resolved"]


class Acknowledgement(Record):
    """Somebody looks after an alert about a subject: until then nobody is reminded and nothing escalates. UTC."""

    alert: str
    subject: Subject
    who: str
    reason: str
    at: datetime
    until: datetime


class Incident(Record):
    """An alert's condition that is true about a subject. Times are UTC.

    Attributes:
        alert: Id of the alert.
        subject: What it is about.
        since: When the condition was first seen.
        fired_at: When people were told first; None while the condition has not lasted long enough.
        told_at: When they were told last.
        escalated_at: When the escalation's route was told.
        channels: Channels that were told anything, and so are told the end.
        value: The newest known value.
        detail: What the observation said of it.
        last_good: When all was well last, as far as is known.
        acknowledged: The newest acknowledgement of this incident.
    """

    alert: str
    subject: Subject
    since: datetime
    fired_at: datetime | None = None
    told_at: datetime | None = None
    escalated_at: datetime | None = None
    channels: tuple[str, ...] = ()
    value: float
    detail: str = ""
    last_good: datetime | None = None
    acknowledged: Acknowledgement | None = None

    @property
    def key(self) -> str:
        """The same text in every notice about this incident, for systems that put them together."""
        return f"{self.alert}/{self.subject}/{self.since.isoformat()}"


class Notice(Record):
    """One thing to tell about one incident. ``note`` says what is special about it, such as who acknowledged."""

    kind: NoticeKind
    incident: Incident
    title: str
    severity: Severity
    condition: str
    unit: str
    runbook: str
    channels: tuple[str, ...]
    note: str = ""


class Delivery(Record):
    """Notices of one alert and kind that a channel has not taken yet."""

    channel: str
    notices: tuple[Notice, ...]
    run: str  # address of the DAG run that found it
    tries: int = 0
    error: str = ""


class State(Record):
    """All of it, for one environment and one evaluating DAG."""

    evaluated_at: datetime | None = None
    incidents: tuple[Incident, ...] = ()
    not_known: tuple[str, ...] = ()  # "signal subject" of what the last round did not know
    outbox: tuple[Delivery, ...] = ()

    def incident(self, alert: str, subject: Subject) -> Incident | None:
        """The incident of an alert about a subject."""
        return next((found for found in self.incidents if (found.alert, found.subject) == (alert, subject)), None)
