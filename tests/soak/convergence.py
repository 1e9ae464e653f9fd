"""10,000 histories of the properties of tests/property/test_convergence.py, a hundred for each seed."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from convergence_world import World
from deliveries import Story, replayed, scrambled
from lpm.local import spark
from lpm.local.postgres import Server
from soak.record import Record

SEEDS = 100
SCRAMBLED, REPLAYED = 70, 30  # histories of each property for a seed


@dataclass
class Played:
    """How much was played."""

    histories: int = 0
    deliveries: int = 0
    messages: int = 0


def run(record: Record) -> None:
    """Every seed that is not done yet.

    Raises:
        AssertionError: a history went wrong; its notes tell the smallest one that does.
    """
    left = [number for number in range(SEEDS) if f"seed {number}" not in record]
    record.say(f"{SEEDS - len(left)} of {SEEDS} seeds are done")
    if not left:
        return
    with tempfile.TemporaryDirectory(prefix="lpm-soak-") as folder, Server(Path(folder) / "postgres") as server:
        session = spark.session(Path(folder) / "warehouse", "lpm-soak")
        world = World(session, server, "soak")
        session.stop()
        record.heed_interrupts()
        try:
            _run(record, world, left)
        finally:
            world.close()
            server.stop()
            server.delete()


def _run(record: Record, world: World, left: list[int]) -> None:
    begin = time.monotonic()
    for done, number in enumerate(left, 1):
        played, started = Played(), time.monotonic()
        _play(number, SCRAMBLED, scrambled(world.computed), world.check_end, played)
        _play(number, REPLAYED, replayed(world.computed), world.check_every_watermark, played)
        record.keep(f"seed {number}", **vars(played), seconds=round(time.monotonic() - started, 1))
        minutes = (time.monotonic() - begin) / done * (len(left) - done) / 60
        record.say(
            f"seed {number} is good; {record.total('histories'):,.0f} histories, {record.total('deliveries'):,.0f}"
            f" deliveries, {record.total('messages'):,.0f} messages so far; {minutes:.0f} minutes to go"
        )


def _play(
    number: int, count: int, stories: st.SearchStrategy[Story], check: Callable[[Story], None], played: Played
) -> None:
    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(story=stories)
    def one(story: Story) -> None:
        played.histories += 1
        played.deliveries += len(story.arrivals)
        played.messages += sum(len(arrival.messages) for arrival in story.arrivals)
        check(story)

    one()
