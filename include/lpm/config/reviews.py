"""What ``reviews.yml`` may say: who owns and who approves each page of the site, and how often it is looked at again.

Not part of :func:`lpm.config.load_config`: only the site and its publication need it.
"""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from pydantic import Field

from lpm.config.contacts import load_contacts
from lpm.config.errors import nearest
from lpm.config.loading import load_checked
from lpm.config.models import Config, Model
from lpm.config.rules import Fault

FILE = "reviews.yml"


class PageRule(Model):
    """Who stands for some pages of the site."""

    pages: str = Field(
        min_length=1, description="A path, or a pattern in which `*` stands for anything, slashes included"
    )
    owner: str = Field(description="Contact who keeps the pages true")
    approvers: tuple[str, ...] = Field(min_length=1, description="Contacts, each of whom may approve the pages")
    review_every_days: int | None = Field(default=None, ge=1, description="Instead of the file's own")

    def covers(self, path: str) -> bool:
        """Whether it is about the page of that path."""
        return fnmatchcase(path, self.pages)


class Reviews(Model):
    """``reviews.yml``. The first rule that covers a page decides."""

    review_every_days: int = Field(ge=1, description="Days for which an approval is good")
    pages: tuple[PageRule, ...] = Field(min_length=1, description="The first that covers a page decides")

    def rule_of(self, path: str) -> PageRule | None:
        """The rule that decides about a page, None when there is none."""
        return next((rule for rule in self.pages if rule.covers(path)), None)

    def days(self, rule: PageRule) -> int:
        """Days for which an approval under this rule is good."""
        return rule.review_every_days or self.review_every_days

    @property
    def approvers(self) -> tuple[str, ...]:
        """Every contact who may approve something, each once."""
        return tuple(dict.fromkeys(contact for rule in self.pages for contact in rule.approvers))


@cache
def load_reviews(folder: Path | None = None) -> Reviews:
    """The checked rules. Read once per process and folder.

    Raises:
        ConfigError: with every problem of the file and of the rest of the configuration.
    """
    known = {contact.id: contact for contact in load_contacts(folder).contacts}

    def unknown(contact: str, *place: str | int) -> Fault:
        message = f"unknown contact {contact!r} of contacts.yml; expected one of {', '.join(known)}"
        return Fault(FILE, ("pages", *place), message, nearest(contact, known))

    def check(reviews: Reviews, _: Config) -> Iterator[Fault]:
        patterns = [rule.pages for rule in reviews.pages]
        for index, rule in enumerate(reviews.pages):
            if rule.pages in patterns[:index]:
                yield Fault(FILE, ("pages", index, "pages"), f"{rule.pages!r} is listed twice; the first decides")
            if rule.owner not in known:
                yield unknown(rule.owner, index, "owner")
            for contact in rule.approvers:
                if contact not in known:
                    yield unknown(contact, index, "approvers")
                elif not known[contact].login:
                    message = f"contact {contact!r} approves, and has no login in contacts.yml: Airflow cannot ask them"
                    yield Fault(FILE, ("pages", index, "approvers"), message)
                elif contact == rule.owner:
                    message = f"contact {contact!r} owns these pages; somebody else has to approve them"
                    yield Fault(FILE, ("pages", index, "approvers"), message)

    return load_checked(folder, FILE, Reviews, check)
