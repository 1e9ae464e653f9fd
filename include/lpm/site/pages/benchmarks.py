"""The figures of ``bench/results.json`` with their method, and what the soak has seen so far."""

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any

from lpm.site.facts import Facts
from lpm.site.page import Page, code, note, table, text

HEAD = """# Benchmarks

A figure alone says little: machines differ, and a shared one differs from itself. So each is measured beside a
**floor** or a peer, in the same run on the same machine: the same work without what is being judged. The **ratio** of
both is what can be compared. `n` is the number of repetitions, the spread is (highest - lowest) / median.

`make bench` measures all of them anew and writes `bench/results.json`. Each benchmark says in its file what its floor
is.
"""

SOAK = """
## The soak

`make soak` is for hours: random histories, kills and faults under load. Its records lie in `bench/soak`, and every run
goes on where the last one was. This is what all runs together have seen.
"""


def pages(facts: Facts) -> Iterator[Page]:
    """One page."""
    figures = _figures(facts.benchmarks) if facts.benchmarks else _NONE
    yield Page("reference/benchmarks.md", HEAD + figures + _soak(facts.soak))


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


def _soak(records: Mapping[str, str]) -> str:
    """What each part that has a record says."""
    parts = [render(json.loads(records[name])) for name, render in _SOAKED.items() if name in records]
    return "".join([SOAK, *parts]) if parts else ""


def _kills(units: Mapping[str, Mapping[str, float]]) -> str:
    """Units are named ``kill 3 of kafka``."""
    by_part: dict[str, list[float]] = {}
    for unit, figures in units.items():
        by_part.setdefault(unit.partition(" of ")[2], []).append(figures["recovery_seconds"])
    rows: list[list[object]] = [
        [text(part), len(seconds), f"{max(seconds):.0f} s"] for part, seconds in sorted(by_part.items())
    ]
    said = f"After each of {len(units)} kills source and targets were equal, value by value.\n"
    return "\n### Kills\n\n" + said + table(["Killed with -9", "Times", "Longest until all is well again"], rows)


def _rounds(counts: Mapping[str, Any]) -> str:
    rows: list[list[object]] = [
        [text(kind), count, counts["found"].get(kind, 0), counts["repaired"].get(kind, 0)]
        for kind, count in sorted(counts["faults"].items())
    ]
    said = (
        f"{counts['rounds']:,} rounds of reconciliation under write load, {counts['comparisons']:,} comparisons of a "
        f"company with {counts['in_flight']:,} keys in flight: **{counts['false_alarms']} false alarms**.\n"
    )
    return "\n### Rounds\n\n" + said + table(["Fault", "Made", "Found and named", "Repaired"], rows)


def _histories(units: Mapping[str, Mapping[str, float]]) -> str:
    total = {name: sum(unit[name] for unit in units.values()) for name in ("histories", "deliveries", "messages")}
    said = ", ".join(f"{value:,.0f} {name}" for name, value in total.items())
    return f"\n### Histories\n\n{said}: every database ended as the source.\n"


_SOAKED: Mapping[str, Callable[[Any], str]] = {"convergence": _histories, "kills": _kills, "rounds": _rounds}


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
