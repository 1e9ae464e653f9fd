"""When the stream job may believe that nothing is left to read."""

from stream_job.idle import IdleWatch

WAITING = {"message": "Waiting for next trigger", "isDataAvailable": False, "isTriggerActive": False}


def test_two_looks_at_the_same_batch_must_agree() -> None:
    now, status = [0.0], dict(WAITING)
    watch = IdleWatch(lambda: status, clock=lambda: now[0])
    assert not watch.nothing_after(4)
    now[0] = 0.05
    assert not watch.nothing_after(4)
    now[0] = 0.2
    assert watch.nothing_after(4)
    assert not watch.nothing_after(5)
    now[0] = 0.4
    assert watch.nothing_after(5)


def test_work_in_between_begins_anew() -> None:
    now = [0.0]
    for busy in (
        WAITING | {"isDataAvailable": True},
        WAITING | {"isTriggerActive": True},
        WAITING | {"message": "Initializing sources"},
        WAITING | {"message": "Processing new data"},
    ):
        status = dict(WAITING)
        watch = IdleWatch(lambda current=status: current, clock=lambda: now[0])
        assert not watch.nothing_after(1)
        now[0] += 1
        status.update(busy)
        assert not watch.nothing_after(1)
        status.update(WAITING)
        assert not watch.nothing_after(1)
        now[0] += 1
        assert watch.nothing_after(1)
