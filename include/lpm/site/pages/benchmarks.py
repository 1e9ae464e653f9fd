"""The figures of ``bench/results.json`` with their method."""

import json
from collections.abc import Iterator
from itertools import groupby

from lpm.site.facts import Facts
from lpm.site.page import Page, code, note, table, text

HEAD = """# Benchmarks

A figure alone says little: machines differ, and a shared one differs from itself. So each is measured beside a
**floor** or a peer, in the same run on the same machine: the same work without what is being judged. The **ratio** of
both is what can be compared. `n` is the number of repetitions, the spread is (highest - lowest) / median.

`make bench` measures all of them anew and writes `bench/results.json`. Each benchmark says in its file what its floor
is.
"""


def pages(facts: Facts) -> Iterator[Page]:
    """One page."""
    yield Page("reference/benchmarks.md", HEAD + (_figures(facts.benchmarks) if facts.benchmarks else _NONE))


_NONE = note("warning", "No figures", "`bench/results.json` was not there when this site was built.")


def _figures(results: str) -> str:
    figures = json.loads(results)
    parts = []
    for command, group in groupby(figures, key=lambda figure: str(figure["command"])):
        rows: list[list[object]] = [
            [
                text(figure["name"]),
                f"{_number(figure['value'])} {text(figure['unit'])}",
                _number(figure["floor"]),
                f"**{figure['ratio']:.2f}**",
                figure["n"],
                f"{figure['spread']:.0%}",
            ]
            for figure in group
        ]
        name = command.rpartition(" ")[2]
        parts.append(f"\n## {name}\n\nCommand: {code(command)}; its file: `bench/{name}.py`.\n")
        parts.append(table(["What", "Median", "Floor", "Ratio", "n", "Spread"], rows))
    return "".join(parts)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
