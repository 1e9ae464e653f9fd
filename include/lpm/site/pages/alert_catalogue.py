"""All alerts at a glance, by severity. What mitigates each is what its hand-written page offers to trigger."""

from collections.abc import Iterator
from typing import get_args

from lpm.config.alerts import Alert, Severity, duration_text
from lpm.config.signals import SIGNALS
from lpm.site.facts import Facts
from lpm.site.page import Page, table, text
from lpm.site.runbooks import evaluated_by, fires_when, procedures_in, section, source_of

MEANINGS: dict[str, str] = {
    "critical": "Data is late or wrong, or will be lost. Somebody is woken.",
    "warning": "Something is not as it should be. It is for working hours, unless it escalates.",
    "info": "Worth knowing. Nobody has to hurry.",
}


def pages(facts: Facts) -> Iterator[Page]:
    """The catalogue, which is the first page of the runbooks."""
    yield Page("runbooks/index.md", "\n".join(_parts(facts)))


def _parts(facts: Facts) -> Iterator[str]:
    yield "# Alerts and runbooks\n"
    yield (
        "One page for each alert, named like it; every message has the link to its page. No message, but somebody "
        "says that something is wrong? [Troubleshooting by symptom](../troubleshooting.md). "
        "Whom to call: [escalation](../escalation.md).\n"
    )
    yield (
        "To have an alert quiet while you work on it: [acknowledge_alert](../operations/acknowledge_alert.md). "
        "How signals come about: [monitor](../operations/monitor.md), [reconcile](../operations/reconcile.md).\n"
    )
    for severity in get_args(Severity):
        alerts = [alert for alert in facts.alerts.alerts if alert.severity == severity]
        if alerts:
            yield f"## {severity.capitalize()}\n\n{MEANINGS[severity]}\n"
            yield table(
                ["Alert", "Means", "Fires when", "Looked at by", "Told", "Mitigated by"],
                [_row(facts, alert) for alert in alerts],
            )


def _row(facts: Facts, alert: Alert) -> list[object]:
    told = f"`{alert.route}`"
    if alert.escalate is not None:
        told += f", after {duration_text(alert.escalate.after)} `{alert.escalate.route}`"
    return [
        f"[{alert.id}]({alert.id}.md)",
        f"{text(alert.title)}. {text(SIGNALS[alert.signal].meaning)}",
        fires_when(facts, alert),
        evaluated_by(facts, alert),
        told,
        ", ".join(f"[{name}](../operations/{name}.md)" for name in mitigating(alert)),
    ]


def mitigating(alert: Alert) -> list[str]:
    """The procedures that an alert's page offers to trigger under Mitigation."""
    return list(procedures_in(section(source_of(alert), "Mitigation")))
