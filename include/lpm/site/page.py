"""What a page of the site is."""

from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from textwrap import indent


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        path: Below the site, with its suffix: ``runbooks/source-lag.md``.
        text: Markdown; its first line is the page's only heading of level 1.
    """

    path: str
    text: str

    @property
    def title(self) -> str:
        """The heading."""
        return self.text.partition("\n")[0].removeprefix("# ")


def table(header: list[str], rows: list[list[object]]) -> str:
    """A Markdown table; cells may hold Markdown, of one line. A blank line stands before and after it."""
    lines = [header, ["---"] * len(header), *([cell(value) for value in row] for row in rows)]
    return "\n" + "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n\n"


def note(kind: str, title: str, body: str) -> str:
    """A box that stands out. ``kind`` is one of MkDocs Material's: note, warning, danger."""
    return f'\n!!! {kind} "{title}"\n{indent(body, "    ")}\n'


def minute(moment: datetime) -> str:
    """A time for people, in UTC, to the minute."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


def cell(value: object) -> str:
    """A value as a cell of a table."""
    return str(value).replace("|", "\\|").replace("\n", " ")


def text(value: object) -> str:
    """A value that people or systems wrote, so that no character of it is taken for Markdown or HTML."""
    kept = escape(str(value), quote=False)
    marked = "".join(f"\\{c}" if c in "\\`*_[]{}#" else c for c in kept)
    return marked.replace("|", "&#124;")  # not by a backslash: a cell of a table puts one before each bar, too


def code(value: object) -> str:
    """A value in code marks, whatever it holds."""
    return (
        f"<code>{escape(str(value), quote=False).replace('|', '&#124;')}</code>" if "`" in str(value) else f"`{value}`"
    )


def anchor(target: str, words: str) -> str:
    """A link out of the site, such as to Airflow: the whole window goes there, also out of a tab of Airflow."""
    return f'<a href="{escape(target)}" target="_top">{escape(words)}</a>'
