"""What a benchmark says."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter


@dataclass(frozen=True)
class Result:
    """One measured figure beside its floor: the same work without what is being judged, in the same run.

    ``value`` and ``floor`` are medians in ``unit``, ``ratio`` is the median of value / floor of each repetition,
    ``n`` the number of repetitions, ``spread`` (highest - lowest) / median of the values.
    """

    name: str
    value: float
    unit: str
    floor: float
    ratio: float
    n: int
    spread: float
    command: str

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.value:,.0f} {self.unit}, floor {self.floor:,.0f}, "
            f"ratio {self.ratio:.2f} (n={self.n}, spread {self.spread:.0%})"
        )


def result(name: str, unit: str, values: list[float], floors: list[float], command: str) -> Result:
    """The figures of repetitions in which value and floor were measured side by side."""
    return Result(
        name=name,
        value=median(values),
        unit=unit,
        floor=median(floors),
        ratio=median(value / floor for value, floor in zip(values, floors, strict=True)),
        n=len(values),
        spread=(max(values) - min(values)) / median(values),
        command=command,
    )


def rate(count: int, work: Callable[[], object]) -> float:
    """How many of ``count`` things ``work`` does in a second."""
    begin = perf_counter()
    work()
    return count / (perf_counter() - begin)
