"""The commands of the site's pages, as a reader copies them."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from lpm.site.build import DOCS
from lpm.site.commands import IN_DATABASE, IN_SHELL, ON_DATABRICKS
from lpm.site.facts import Facts
from lpm.site.prose import render_prose

FENCE = re.compile(r'^( *)```(\w+) title="([^"]+)"\n(.*?)\n\1```$', re.MULTILINE | re.DOTALL)
PLACES = (ON_DATABRICKS, IN_DATABASE, IN_SHELL)
COMMAND = "<command>"
TAB = re.compile(r'^ *=== "[^"]+"$')


@dataclass(frozen=True)
class Command:
    """One block: where it stands, in which language, and where it says that it belongs."""

    page: str
    language: str
    title: str
    text: str


def sources() -> dict[str, str]:
    """The hand-written pages by path, as they are written."""
    return {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}


def rendered(facts: Facts) -> dict[str, str]:
    """The same with their facts."""
    return {path: render_prose(facts, path, source).text for path, source in sources().items()}


def commands(pages: dict[str, str], title: str) -> Iterator[Command]:
    """Every block of some pages that says that it belongs there; the same text on several pages comes once."""
    seen: set[str] = set()
    for page, text in pages.items():
        for _, language, where, body in FENCE.findall(text):
            command = textwrap.dedent(body)
            if where == title and command not in seen:
                seen.add(command)
                yield Command(page, language, where, command)


def what_follows_commands(text: str) -> Iterator[str]:
    """The line after each command, or after several that stand together, such as those of the tabs."""
    marked = FENCE.sub(lambda found: COMMAND if found[3] in PLACES else "", text)
    lines = [line.strip() for line in marked.splitlines() if line.strip() and not TAB.match(line)]
    for line, following in pairwise([*lines, ""]):
        if line == COMMAND != following:
            yield following
