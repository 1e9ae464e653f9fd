"""Say that somebody looks after an alert."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lpm.clients.evidence import EvidenceStore
from lpm.config.errors import did_you_mean
from lpm.procedures.alerts.rounds import acknowledgement_name, open_incidents
from lpm.procedures.alerts.state import Acknowledgement
from lpm.procedures.alerts.telling import moment
from lpm.procedures.outcome import Outcome, ProcedureError


@dataclass(frozen=True)
class Request:
    """What an operator asks for.

    Attributes:
        alert: Id of the alert.
        subject: As messages name it, such as ``company C-1001``; None for all that are open.
        who: Who looks after it.
        reason: Why it may be quiet.
        lasting: For how long; none ends an earlier acknowledgement.
    """

    alert: str | None
    subject: str | None
    who: str
    reason: str
    lasting: timedelta


def acknowledge_alert(store: EvidenceStore, request: Request, now: datetime | None = None) -> Outcome:
    """Keep who looks after the open incidents of an alert. The next round of alerting reads it.

    Raises:
        ProcedureError: no such incident is open; names those that are.
        EvidenceError: the store cannot be read or written.
    """
    at = now or datetime.now(UTC)
    open_now = open_incidents(store)
    fitting = [
        incident
        for incident in open_now
        if incident.alert == request.alert and request.subject in (None, str(incident.subject))
    ]
    if not fitting:
        known = sorted({f"{incident.alert} about {incident.subject}" for incident in open_now})
        wanted = (
            f"{request.alert} about {request.subject}" if request.subject else str(request.alert or "without an id")
        )
        raise ProcedureError(
            f"no open alert {wanted}; open are: {', '.join(known) or 'none'}{did_you_mean(wanted, known)}\n"
            "Next step: trigger again with the id and the subject of one that is open."
        )
    until = at + request.lasting
    for incident in fitting:
        given = Acknowledgement(
            alert=incident.alert,
            subject=incident.subject,
            who=request.who,
            reason=request.reason,
            at=at,
            until=until,
        )
        store.write(acknowledgement_name(incident.alert, incident.subject), given.model_dump_json(indent=1))
    lines = tuple(f"{incident.alert}: {incident.subject}" for incident in fitting)
    return Outcome(True, f"{request.who} looks after {len(fitting)} alerts until {moment(until)}", lines)
