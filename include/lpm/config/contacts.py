"""What ``contacts.yml`` may say: who can be reached, when and how.

Not part of :func:`lpm.config.load_config`: only the site and the reviews need it.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pydantic import Field

from lpm.config.alerts import load_alerts
from lpm.config.errors import nearest
from lpm.config.loading import load_checked
from lpm.config.models import DNS_LABEL, Config, Model
from lpm.config.rules import Fault

FILE = "contacts.yml"


class Contact(Model):
    """A person, or a group that is reached as one."""

    id: str = Field(pattern=DNS_LABEL)
    name: str = Field(min_length=1)
    role: str = Field(min_length=1)
    mail: str = Field(pattern=r"^\S+@\S+$")
    phone: str = ""
    login: str = ""  # of Airflow, for people who approve pages


class Rota(Model):
    """Who stands behind a route of ``alerts.yml``, and when."""

    route: str
    contacts: tuple[str, ...] = Field(min_length=1)
    hours: str = Field(min_length=1)  # as people say it: "Monday to Friday, 08:00-18:00 Europe/Amsterdam"
    answers_within: str = Field(min_length=1)


class Contacts(Model):
    """``contacts.yml``."""

    contacts: tuple[Contact, ...] = Field(min_length=1)
    rota: tuple[Rota, ...] = Field(min_length=1)

    def contact(self, contact_id: str) -> Contact:
        """The contact of that id; the check has seen that it exists."""
        return next(contact for contact in self.contacts if contact.id == contact_id)

    def rota_of(self, route: str) -> Rota:
        """Who stands behind a route; the check has seen that somebody does."""
        return next(rota for rota in self.rota if rota.route == route)


@cache
def load_contacts(folder: Path | None = None) -> Contacts:
    """The checked contacts. Read once per process and folder.

    Raises:
        ConfigError: with every problem of the file and of the rest of the configuration.
    """
    routes = load_alerts(folder).routes

    def check(contacts: Contacts, _: Config) -> Iterator[Fault]:
        known = [contact.id for contact in contacts.contacts]
        for index, contact in enumerate(known):
            if contact in known[:index]:
                yield Fault(FILE, ("contacts", index, "id"), f"contact {contact!r} is listed twice")
        for index, rota in enumerate(contacts.rota):
            if rota.route not in routes:
                message = f"unknown route {rota.route!r}; expected one of {', '.join(routes)}"
                yield Fault(FILE, ("rota", index, "route"), message, nearest(rota.route, routes))
            for contact in rota.contacts:
                if contact not in known:
                    message = f"unknown contact {contact!r}; expected one of {', '.join(known)}"
                    yield Fault(FILE, ("rota", index, "contacts"), message, nearest(contact, known))
        covered = [rota.route for rota in contacts.rota]
        for route in routes:
            if covered.count(route) != 1:
                yield Fault(
                    FILE,
                    ("rota",),
                    f"route {route!r} of alerts.yml is here {covered.count(route)} times; expected once",
                )

    return load_checked(folder, FILE, Contacts, check)
