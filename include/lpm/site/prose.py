"""Hand-written pages: Markdown of docs/ whose facts are filled in by Jinja2.

A page says ``{{ meaning() }}`` where it means what alerts.yml says. What a page may call is listed in :func:`_words`; a
word that does not exist, or a value that the configuration does not have, is an error with the page and the line.
"""

import traceback
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from jinja2 import Environment as Jinja
from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError

from lpm.site import diagrams, procedure_pages, runbooks, tables
from lpm.site.commands import Commands
from lpm.site.facts import Facts
from lpm.site.page import Page
from lpm.site.reaching import person, reach
from lpm.site.triggers import ASK, dag, runs

PROCEDURES = "operations"  # the folder whose pages are named like a procedure

COMMANDS = ("source_sql", "company_sql", "shell")  # also as filters: a command of several lines has quotes of its own


class ProseError(RuntimeError):
    """A hand-written page asks for what does not exist. The message names the page and the line."""


def render_prose(facts: Facts, path: str, source: str) -> Page:
    """One hand-written page with its facts.

    Args:
        facts: What pages may say.
        path: Below docs/: ``runbooks/source-lag.md``. It decides which alert or procedure the page is about.
        source: The text of the file.

    Raises:
        ProseError: the page asks for what does not exist.
    """
    jinja = Jinja(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)  # noqa: S701  # Markdown
    words = _words(facts, path)
    jinja.filters |= {name: words[name] for name in COMMANDS}
    try:
        template = jinja.template_class.from_code(
            jinja, jinja.compile(source, name=path, filename=path), jinja.make_globals(words)
        )
        text = template.render()
    except TemplateSyntaxError as error:
        raise ProseError(f"docs/{path}:{error.lineno}: {error.message}") from error
    except (TemplateError, ValueError, KeyError, TypeError, AttributeError) as error:
        said = error.args[0] if isinstance(error, KeyError) else error  # the text of a KeyError has quotes around it
        raise ProseError(f"docs/{path}:{_line(error, path)}: {said}") from error
    if _procedure(path) in facts.procedures:
        text = procedure_pages.with_places(text)
    return Page(path, text)


def _words(facts: Facts, path: str) -> dict[str, Any]:
    """What a page may say between its braces."""
    commands = Commands(facts)
    words: dict[str, Any] = {
        "config": facts.config,
        "alerts": facts.alerts,
        "contacts": facts.contacts,
        "environments": facts.environments,
        "ASK": ASK,
        "dag": partial(dag, facts, path),
        "runs": partial(runs, facts),
        "each": commands.each,
        "source_sql": commands.source_sql,
        "company_sql": commands.company_sql,
        "shell": commands.shell,
        "airflow": commands.airflow,
        "reach": partial(reach, facts),
        "person": partial(person, facts),
        "shards": partial(tables.shards, facts),
        "companies": partial(tables.companies, facts),
        "sizes": partial(tables.sizes, facts),
        "access": partial(tables.access, facts),
        "architecture": partial(diagrams.architecture, path, [company.id for company in facts.config.companies]),
        "path_of_a_row": partial(diagrams.path_of_a_row, path),
    }
    alert = next((alert for alert in facts.alerts.alerts if alert.runbook == path), None)
    if alert is not None:
        words |= {name: partial(word, facts, alert) for name, word in runbooks.WORDS.items()}
        words["acknowledge"] = partial(dag, facts, path, "acknowledge_alert", alert=alert.id, reason=ASK)
    procedure = facts.procedures.get(_procedure(path))
    if procedure is not None:
        words |= {name: partial(word, procedure) for name, word in procedure_pages.WORDS.items()}
    return words


def _procedure(path: str) -> str:
    """The name of the procedure that a page would be about; empty when it is in another folder."""
    place = PurePosixPath(path)
    return place.stem if place.parent == PurePosixPath(PROCEDURES) else ""


def _line(error: BaseException, path: str) -> int:
    """The line of the page at which it failed: Jinja puts the page into the traceback."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return lines[-1] or 0 if lines else 0
