"""The commands of ``lpm``, from its own parser."""

import argparse
from collections.abc import Iterator

from lpm.site.facts import Facts
from lpm.site.page import Page, code, table


def pages(facts: Facts) -> Iterator[Page]:
    """One page."""
    head = (
        "# Commands\n\n`lpm` lies in `.venv/bin` after `make setup`. Every command exits with 0 when all is well, 1 "
        "when it found something wrong, 2 when it was called wrongly.\n"
    )
    yield Page("reference/commands.md", "\n".join([head, *_described(facts.commands, "lpm")]))


def _described(parser: argparse.ArgumentParser, name: str) -> Iterator[str]:
    """A parser and those below it, one section for each that runs something."""
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for action in nested:
        helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for command, below in action.choices.items():
            whole = f"{name} {command}"
            if not any(isinstance(one, argparse._SubParsersAction) for one in below._actions):
                yield f"## {whole}\n\n{_sentence(helps.get(command, ''))}\n{_arguments(below)}"
            yield from _described(below, whole)


def _arguments(parser: argparse.ArgumentParser) -> str:
    rows: list[list[object]] = [
        [code(", ".join(action.option_strings) or action.dest), _sentence(action.help or "")]
        for action in parser._actions
        if not isinstance(action, argparse._HelpAction)
    ]
    return table(["Argument", "Meaning"], rows) if rows else ""


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}." if words else ""
