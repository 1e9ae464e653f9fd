"""Small alerts, observations and rounds for the tests of alerting."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from lpm.config import load_config
from lpm.config.alerts import Alerts
from lpm.procedures.alerts.evaluation import Round, Rules
from lpm.procedures.alerts.observations import Observation, Subject
from lpm.procedures.alerts.state import Acknowledgement

CONFIG = load_config()
LOCAL = CONFIG.environment("local")
BEGIN = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
AURORA = Subject(kind="company", name="C-1001")
O_NEILL = Subject(kind="company", name="O'Neill 07")
HERE = Subject(kind="environment", name="local")

ALERT = {
    "id": "watermark-late", "title": "A company falls behind", "severity": "critical",
    "signal": "watermark_age_seconds", "when": "> 600", "for": "10 min", "route": "team", "repeat": "1 h",
    "escalate": {"after": "30 min", "route": "duty"}, "runbook": "runbooks/watermark-late.md",
}  # fmt: skip
CHANNELS = {
    "log": {"kind": "log"},
    "chat": {"kind": "teams", "connection": "alerts_chat"},
    "on_call": {"kind": "webhook", "connection": "alerts_on_call"},
}


def settings(*alerts: Mapping[str, Any], channels: Mapping[str, Any] | None = None) -> Alerts:
    """``alerts.yml`` with these alerts: changes to :data:`ALERT`."""
    return Alerts.model_validate(
        {
            "channels": channels or CHANNELS,
            "routes": {"team": ["log", "chat"], "duty": ["chat", "on_call"]},
            "alerts": [{**ALERT, **changes} for changes in alerts or [{}]],
        }
    )


def rules(*alerts: Mapping[str, Any], channels: Mapping[str, Any] | None = None) -> Rules:
    """The rules of the monitor with these alerts, in the local environment."""
    return Rules(CONFIG, settings(*alerts, channels=channels), LOCAL, "monitor")


def observation(value: float | None, subject: Subject = AURORA, **more: Any) -> Observation:
    """A company's watermark age."""
    return Observation(signal="watermark_age_seconds", subject=subject, value=value, **more)


def look(
    minutes: float,
    *observations: Observation,
    subjects: Sequence[Subject] = (AURORA,),
    acknowledgements: Sequence[Acknowledgement] = (),
) -> Round:
    """A round so many minutes after the first."""
    now = BEGIN + timedelta(minutes=minutes)
    return Round(now, observations, subjects, subjects, acknowledgements)


def acknowledgement(minutes: float, hours: float, subject: Subject = AURORA) -> Acknowledgement:
    """Given so many minutes after the first round, good for so many hours."""
    at = BEGIN + timedelta(minutes=minutes)
    until = at + timedelta(hours=hours)
    return Acknowledgement(alert=ALERT["id"], subject=subject, who="ada", reason="on it", at=at, until=until)
