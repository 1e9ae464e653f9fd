"""What ``contacts.yml`` may say: who can be reached, when and how.

Not part of :func:`lpm.config.load_config`: only the site and the reviews need it.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pydantic import Field

from lpm.config.alerts import load_alerts
from lpm.config.loading import load_checked
from lpm.config.models import DNS_LABEL, Config, Model
from lpm.config.rules import Fault, listed_twice, unknown

FILE = "contacts.yml"


class Contact(Model):
    """A person, or a group that is reached as one."""

    id: str = Field(pattern=DNS_LABEL, description="Short name")
    name: str = Field(min_length=1, description="Of the person or group")
    role: str = Field(min_length=1, description="What they do for the pipeline")
    mail: str = Field(pattern=r"^\S+@\S+$", description="Address")
    phone: str = Field("", description="Number")
    login: str = Field("", description="In Airflow, for people who approve pages")


class Rota(Model):
    """Who stands behind a route of ``alerts.yml``, and when."""

    route: str = Field(description="Of alerts.yml")
    contacts: tuple[str, ...] = Field(min_length=1, description="Who answers, in this order")
    hours: str = Field(min_length=1, description="When, as people say it")
    answers_within: str = Field(min_length=1, description="How fast")


class Contacts(Model):
    """``contacts.yml``."""

    contacts: tuple[Contact, ...] = Field(min_length=1, description="Everybody who can be reached")
    rota: tuple[Rota, ...] = Field(min_length=1, description="Who stands behind each route")

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
        yield from listed_twice(FILE, "contacts", known, "contact {!r} is listed twice")
        for index, rota in enumerate(contacts.rota):
            if rota.route not in routes:
                yield unknown(FILE, ("rota", index, "route"), "route", rota.route, routes)
            for contact in rota.contacts:
                if contact not in known:
                    yield unknown(FILE, ("rota", index, "contacts"), "contact", contact, known)
        covered = [rota.route for rota in contacts.rota]
        for route in routes:
            if covered.count(route) != 1:
                yield Fault(
                    FILE,
                    ("rota",),
                    f"route {route!r} of alerts.yml is here {covered.count(route)} times; expected once",
                )

    return load_checked(folder, FILE, Contacts, check)
