"""Whom to call, how fast they answer, and what to say: routes of alerts.yml and people of contacts.yml."""

from collections.abc import Iterator

from lpm.config.alerts import Alert, duration_text
from lpm.site.facts import Facts
from lpm.site.page import Page, code, table, text
from lpm.site.reaching import how, reach

SAY = """
Have the page of the alert open. Then, in this order:

1. **What**: the alert's name, the severity, the company or shard, since when.
2. **Whom it concerns**: one company, one shard, or all. Is data late, missing, or wrong?
3. **What you saw**: the detail of the message, and what the commands of *Diagnosis* showed.
4. **What you did**: each procedure that you triggered, with the link of its run.
5. **What you need**: a right, a restart, a decision. Until when: the alert says how much time is left.

Write the same into the team's channel afterwards. Never paste values of rows: names of companies, keys' hashes and
versions are enough.
"""


def pages(facts: Facts) -> Iterator[Page]:
    """The escalation matrix."""
    yield Page("escalation.md", "\n".join(_parts(facts)))


def _parts(facts: Facts) -> Iterator[str]:
    yield "# Escalation\n"
    yield "Whom to call, and how. A route is the channels that a message goes to, and the people who answer for them."
    yield "\n## Whom to call\n"
    yield reach(facts)
    yield "## What to say when you call\n"
    yield SAY.strip() + "\n"
    yield "## Which alert goes where\n"
    yield "The route that is told first, and the one that is told when nobody has acknowledged in time.\n"
    yield _alerts(facts)
    yield "## Everybody\n"
    people: list[list[object]] = [
        [text(contact.name), text(contact.role), how(contact)] for contact in facts.contacts.contacts
    ]
    yield table(["Who", "What for", "How"], people)
    yield "## What a route reaches\n"
    yield "Channels by environment. Addresses are in the Airflow connections.\n"
    channels: list[list[object]] = [
        [code(route), *(", ".join(facts.alerts.channels_of(route, name)) for name in facts.environments)]
        for route in facts.alerts.routes
    ]
    yield table(["Route", *facts.environments], channels)


def _alerts(facts: Facts) -> str:
    rows = [row for route in facts.alerts.routes for row in _rows(facts, route)]
    return table(["Route", "Alert", "Severity", "Told again every", "Then"], rows)


def _rows(facts: Facts, route: str) -> Iterator[list[object]]:
    for alert in facts.alerts.alerts:
        if alert.route == route:
            link = f"[{alert.id}]({alert.runbook})"
            yield [code(route), link, alert.severity, duration_text(alert.repeat), then(alert)]


def then(alert: Alert) -> str:
    """What follows when nobody acknowledges."""
    return f"after {duration_text(alert.escalate.after)}: {code(alert.escalate.route)}" if alert.escalate else ""
