"""A part stops and runs again: nothing arrives meanwhile, and nothing is lost. Touches whole shards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lpm.clients.azure_resource_manager import ResourceManager
from lpm.procedures.control import Action, control_router, control_stream
from lpm.procedures.validation.canaries import Canaries, CaseFailed, Seen


def router_restart(canaries: Canaries) -> Seen:
    """Rows from before, during and after a restart of the router all arrive."""
    canaries.insert(canaries.first, 0, 20)
    _router(canaries, Action.RESTART)
    canaries.insert(canaries.first, 20, 20)
    canaries.update(1, [0, 1])
    seconds = canaries.await_equal()
    return Seen(("40 rows, two of them changed after the restart, are right",), {"seconds_to_arrive": seconds})


def router_pause(canaries: Canaries) -> Seen:
    """What happens while the router is stopped waits, and is right afterwards."""
    return _while_stopped(canaries, lambda action: _router(canaries, action))


def stream_pause(canaries: Canaries) -> Seen:
    """What happens while the stream job is paused waits, and is right afterwards."""

    def stream(action: Action) -> None:
        control_stream(canaries.environment, canaries.databricks, action)

    return _while_stopped(canaries, stream)


def _router(canaries: Canaries, action: Action) -> None:
    with ResourceManager(canaries.environment.azure) as manager:
        control_router(canaries.config, canaries.environment, manager, action, [canaries.first.shard])


def _while_stopped(canaries: Canaries, control: Callable[[Action], None]) -> Seen:
    canaries.insert(canaries.first, 0, 2)
    canaries.await_equal()
    before = canaries.states(canaries.first)
    with _stopped(control):
        canaries.update(1, [0])
        canaries.delete([1])
        canaries.insert(canaries.first, 2)
        if (found := canaries.states(canaries.first)) != before:
            raise CaseFailed(f"expected: the database as it was before the stop: {dict(before)}\nseen: {dict(found)}")
    seconds = canaries.await_equal()
    line = "nothing arrived while it was stopped; an update, a delete and an insert from then are right"
    return Seen((line,), {"seconds_to_catch_up": seconds})


@contextmanager
def _stopped(control: Callable[[Action], None]) -> Iterator[None]:
    """Stop a part, and let it run again whatever happens."""
    try:
        control(Action.PAUSE)
        yield
    finally:
        control(Action.RESUME)
