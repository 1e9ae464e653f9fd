"""``bench.reconcile`` with ten million rows, once: how the figures grow with the table. Takes most of an hour."""

from bench import reconcile
from bench.result import Result


def run() -> list[Result]:
    """The same measurements."""
    return reconcile.run(10_000_000, repetitions=1, command="python -m bench reconcile_10m")
