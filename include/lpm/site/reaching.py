"""Whom to tell, when, and how to reach them: routes of alerts.yml and people of contacts.yml."""

from lpm.config.contacts import Contact
from lpm.config.errors import did_you_mean
from lpm.site.facts import Facts
from lpm.site.page import table, text

HEADER = ["Route", "Hours", "Who", "How", "Answers within"]


def reach(facts: Facts, *routes: str) -> str:
    """A table of who stands behind some routes, and how to reach them; all routes when none is named.

    Raises:
        ValueError: a route does not exist.
    """
    return table(HEADER, [[f"`{route}`", *columns(facts, route)] for route in routes or tuple(facts.alerts.routes)])


def columns(facts: Facts, route: str) -> list[object]:
    """Hours, who, how and answers within, of one route, as cells of a table.

    Raises:
        ValueError: the route does not exist.
    """
    if route not in facts.alerts.routes:
        raise ValueError(f"unknown route {route!r}{did_you_mean(route, facts.alerts.routes)}")
    rota = facts.contacts.rota_of(route)
    people = [facts.contacts.contact(contact) for contact in rota.contacts]
    return [
        text(rota.hours),
        "<br>".join(f"{text(contact.name)} ({text(contact.role)})" for contact in people),
        "<br>".join(map(how, people)),
        text(rota.answers_within),
    ]


def person(facts: Facts, contact_id: str) -> str:
    """One contact in a sentence: the name, and how to reach them.

    Raises:
        ValueError: no such contact.
    """
    known = [contact.id for contact in facts.contacts.contacts]
    if contact_id not in known:
        raise ValueError(f"unknown contact {contact_id!r}{did_you_mean(contact_id, known)}")
    contact = facts.contacts.contact(contact_id)
    return f"{text(contact.name)} ({how(contact)})"


def how(contact: Contact) -> str:
    """Phone first: it is night."""
    phone = f"[{text(contact.phone)}](tel:{contact.phone.replace(' ', '')}), " if contact.phone else ""
    return f"{phone}[{text(contact.mail)}](mailto:{contact.mail})"
