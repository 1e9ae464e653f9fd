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
    canaries.await_equal()
    slowest = max(canaries.latencies(canaries.first))
    return Seen(("40 rows, two of them changed after the restart, are right",), {"max_seconds": slowest})


def router_pause(canaries: Canaries) -> Seen:
    """What happens while the router is stopped waits, and is right afterwards."""

    def await_other_shard() -> None:
        """The second canary's router runs. When its database has the versions, the stream has sent them here, too."""
        canaries.insert(canaries.second, 3)
        canaries.await_version(canaries.second)

    return _while_stopped(canaries, lambda action: _router(canaries, action), await_other_shard)


def stream_pause(canaries: Canaries) -> Seen:
    """What happens while the stream job is paused waits, and is right afterwards."""

    def stream(action: Action) -> None:
        control_stream(canaries.environment, canaries.databricks, action)

    return _while_stopped(canaries, stream, lambda: None)  # without a run there is nobody who could send


def _router(canaries: Canaries, action: Action) -> None:
    with ResourceManager(canaries.environment.azure) as manager:
        control_router(canaries.config, canaries.environment, manager, action, [canaries.first.shard])


def _while_stopped(canaries: Canaries, control: Callable[[Action], None], await_what_runs: Callable[[], None]) -> Seen:
    canaries.insert(canaries.first, 0, 2)
    canaries.await_equal()
    before = canaries.states(canaries.first)
    with _stopped(control):
        canaries.update(1, [0])
        canaries.delete([1])
        canaries.insert(canaries.first, 2)
        await_what_runs()
        if (found := canaries.states(canaries.first)) != before:
            raise CaseFailed(f"expected: the database as it was before the stop: {dict(before)}\nseen: {dict(found)}")
    canaries.await_equal()
    line = "nothing arrived while it was stopped; an update, a delete and an insert from then are right"
    return Seen((line,), {"max_seconds": max(canaries.latencies(canaries.first))})


@contextmanager
def _stopped(control: Callable[[Action], None]) -> Iterator[None]:
    """Stop a part, and let it run again whatever happens."""
    try:
        control(Action.PAUSE)
        yield
    finally:
        control(Action.RESUME)
