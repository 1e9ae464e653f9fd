"""Configuration errors that read like a compiler's."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

Location = tuple[str | int, ...]  # keys and list positions from the top of a file


def nearest(word: str, names: Iterable[str]) -> str | None:
    """The name that ``word`` was probably meant to be."""
    return next(iter(difflib.get_close_matches(word, list(names), n=1)), None)


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """The end of a message about an unknown name: ``; did you mean 'lead'?``, empty when nothing is near."""
    near = nearest(word, names)
    return f"; did you mean {near!r}?" if near else ""


@dataclass(frozen=True)
class ConfigProblem:
    """One fault: where it is, what is wrong and the nearest valid name if there is one."""

    file: str  # relative to the config folder
    line: int  # from 1
    where: str  # path of keys, dots between
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        hint = f"\n    did you mean {self.hint!r}?" if self.hint else ""
        return f"{self.file}:{self.line}: {self.where}: {self.message}{hint}"


class ConfigError(ValueError):
    """The configuration is not usable. ``problems`` lists every fault found."""

    def __init__(self, problems: list[ConfigProblem]) -> None:
        self.problems = problems
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''} in the configuration"
        super().__init__("\n".join([count, *map(str, problems)]))
