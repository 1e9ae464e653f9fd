"""The stream job as a process that is stopped, killed and started again: nothing lost, nothing claimed too early."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from py4j.protocol import Py4JError
from stream_job_world import World, applied, nothing_after

from lpm.local.kafka import Broker
from stream_job import main, offsets, sink
from stream_job.batch import BatchCounts
from stream_job.progress import ProgressListener, ProgressTable

INCLUDE = Path(main.__file__).parents[1]
# The job as a process of its own. A pause file holds it between the hub's acknowledgement and Spark's commit.
PROCESS = """
import pathlib, sys, time
from lpm.local.spark import QUICK_COMPILER, session
from stream_job import main
from stream_job.batch import BatchProcessor
warehouse, settings, pause = map(pathlib.Path, sys.argv[1:4])
process = BatchProcessor.process
def paused(self, batch, batch_id):
    counts = process(self, batch, batch_id)
    while pause.exists():
        pause.with_name("reached").touch()
        time.sleep(0.05)
    return counts
BatchProcessor.process = paused
session(warehouse, "stream-job", "512m", java_options=[QUICK_COMPILER])
sys.argv = ["stream_job", f"--settings={settings}"]
main.main()
"""


@pytest.fixture
def world(spark: Any, kafka: Any, tmp_path: Path) -> World:
    world = World(spark, kafka, tmp_path)
    world.create_source()
    return world


def trade(number: int, company: str | None = "C-1001", **values: Any) -> dict[str, Any]:
    return {"trade_id": f"T-{number}", "leg_no": 1, "info_companyid": company, "comment": "first", **values}


def wait_until(condition: Callable[[], object], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.5)  # some conditions read every event again; the job needs the processors


def start_process(world: World, folder: Path) -> "subprocess.Popen[bytes]":
    settings = folder / "settings.json"
    settings.write_text(json.dumps({**asdict(world.settings), "session": dict(world.settings.session)}))
    warehouse = world.spark.conf.get("spark.sql.warehouse.dir").removeprefix("file:")
    command = [sys.executable, "-c", PROCESS, warehouse, str(settings), str(folder / "pause")]
    environment = {**os.environ, **world.variables, "PYTHONPATH": str(INCLUDE)}
    with (folder / "job.log").open("ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def test_a_job_killed_before_its_commit_sends_the_batch_again_and_loses_nothing(world: World, tmp_path: Path) -> None:
    world.insert(*[trade(number) for number in range(5)], trade(5, None))
    pause = tmp_path / "pause"
    pause.touch()
    job = start_process(world, tmp_path)
    try:
        wait_until((tmp_path / "reached").exists)
        assert len(world.events()) == 5
        assert world.heartbeats() == []  # acknowledged, but not committed: nothing may be claimed yet
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    pause.unlink()
    job = start_process(world, tmp_path)
    try:
        wait_until(lambda: len(world.events()) >= 10 and world.heartbeats())
        world.spark.sql(f"UPDATE {world.table} SET comment = 'second' WHERE trade_id = 'T-3'")
        wait_until(lambda: len(world.events()) >= 11)
        assert applied(world.events()) == {"C-1001": world.expected()["C-1001"]}
        assert [row.reason for row in world.dead_letters()] == ["no_company"]
        wait_until(lambda: max(beat.body["version"] for beat in world.heartbeats()) == world.version())
        # The source's schema changes: the process ends with a reason that names the next step.
        world.spark.sql(f"ALTER TABLE {world.table} ADD COLUMN added STRING")
        world.spark.sql(f"DELETE FROM {world.table} WHERE trade_id = 'T-1'")
        assert job.wait(120) == 1
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
    last = (tmp_path / "job.log").read_text(errors="replace").strip().splitlines()[-1]
    assert last.startswith("stream job failed: ")
    assert "the next run goes on by itself" in last
    events = world.drain()
    assert applied(events) == {"C-1001": world.expected()["C-1001"]}


def test_a_restart_goes_on_from_the_checkpoint(world: World) -> None:
    world.insert(trade(1))
    assert len(world.drain()) == 1
    assert len(world.drain()) == 1
    world.insert(trade(2))
    assert [event.body["version"] for event in world.drain()][-1] == world.version()
    assert len(world.events()) == 2


def test_a_batch_run_again_sends_its_events_and_writes_its_dead_letters_once(world: World) -> None:
    world.insert(trade(1), trade(2, None))
    world.drain()
    newest = max(int(path.name) for path in (Path(world.settings.checkpoint) / "commits").glob("[0-9]*"))
    for path in (Path(world.settings.checkpoint) / "commits").glob(f"*{newest}*"):
        path.unlink()
    assert len(world.drain()) == 2
    assert len(world.dead_letters()) == 1
    world.insert(trade(3, None))
    world.drain()
    assert len(world.dead_letters()) == 2


def test_heartbeats_never_claim_more_than_is_committed_and_reach_every_partition(world: World) -> None:
    world.insert(trade(1))
    with world.running() as query:
        heartbeat = world.heartbeat(query)
        query.processAllAvailable()
        claimed = heartbeat.beat()
        assert claimed == world.version()
        beats = world.heartbeats()
        expected = {
            (line.company, line.topic, partition) for line in world.settings.routes for partition in line.partitions
        }
        assert {(beat.body["info_companyid"], beat.topic, beat.partition) for beat in beats} == expected
        assert len(beats) == len(expected)
        for beat in beats:
            company = beat.body["info_companyid"]
            assert beat.body["event_id"] == f"{claimed}-heartbeat-{company}-{beat.partition}"
            filled = {name for name, value in beat.body.items() if value is not None}
            assert filled == {"event_id", "op", "info_companyid", "version", "emitted_at"}
        assert heartbeat.beat() is None  # no news
        world.insert(trade(2))
        query.processAllAvailable()
        wait_until(lambda: heartbeat.beat() == world.version())
        # A version with change files leaves the offset inside itself; it must be claimed all the same.
        world.spark.sql(f"DELETE FROM {world.table} WHERE trade_id = 'T-2'")
        query.processAllAvailable()
        wait_until(lambda: heartbeat.beat() == world.version())
        world.insert(trade(3))
        query.processAllAvailable()
    # After a restart the last committed version is claimed again; a batch without a commit is not.
    newest = max(int(path.name) for path in (Path(world.settings.checkpoint) / "commits").glob("[0-9]*"))
    assert world.heartbeat().beat() == world.version()
    for path in (Path(world.settings.checkpoint) / "commits").glob(f"*{newest}*"):
        path.unlink()
    # The batch before it ended inside the DELETE's version, which only an idle query may claim.
    assert world.heartbeat().beat() == world.version() - 2


def test_heartbeats_keep_their_distance(world: World) -> None:
    now = [0.0]
    world.settings = replace(world.settings, heartbeat_seconds=10)
    heartbeat = main.Heartbeat(world.spark, world.settings, world.kafka_options, lambda _: False, clock=lambda: now[0])
    world.insert(trade(1))
    world.drain()
    assert heartbeat.beat() is not None
    world.insert(trade(2))
    world.drain()
    now[0] = 9.9
    assert heartbeat.beat() is None
    now[0] = 10.0
    assert heartbeat.beat() == world.version()


def test_no_heartbeat_while_the_snapshot_is_being_sent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        world.insert(trade(number))
    reader = world.spark.readStream.option("readChangeFeed", "true").option("maxFilesPerTrigger", 1)
    monkeypatch.setattr(main, "change_feed", lambda *_: reader.table(world.table))
    seen: list[tuple[bool, int | None]] = []
    heartbeat = world.heartbeat()
    process = main.BatchProcessor.process

    def watched(self: Any, batch: Any, batch_id: int) -> BatchCounts:
        counts = process(self, batch, batch_id)
        position = offsets.position(Path(world.settings.checkpoint), lambda _: True)
        seen.append((position is not None and position.complete_version is None, heartbeat.beat()))
        return counts

    monkeypatch.setattr(main.BatchProcessor, "process", watched)
    world.drain()
    assert seen == [(False, None), (True, None), (True, None)]
    assert heartbeat.beat() == world.version()


def test_progress_is_written_where_the_monitor_reads_it(world: World) -> None:
    listener = ProgressListener()
    world.spark.streams.addListener(listener)
    try:
        now = [0.0]
        world.insert(trade(1), trade(2), trade(3, None))
        with world.running() as query:
            nothing = nothing_after(query)

            def all_is_read(batch: int) -> bool:
                """A look that falls into one of Spark's own says no, and is to be taken again."""
                wait_until(lambda: nothing(batch))
                return True

            table = ProgressTable(world.spark, world.settings, query.runId, all_is_read, clock=lambda: now[0])
            query.processAllAvailable()
            world.spark.sql(f"DELETE FROM {world.table} WHERE trade_id = 'T-1'")
            query.processAllAvailable()
            wait_until(lambda: listener.completed.qsize() >= 2)
            assert not table.write_when_due(listener.completed, world.counts)
            for now[0] in (10.0, 20.0):
                assert table.write_when_due(listener.completed, world.counts)
    finally:
        world.spark.streams.removeListener(listener)
    first, second = world.spark.table(world.settings.progress_table).orderBy("recorded_at").collect()
    assert first.run_id == str(query.runId)
    assert (first.batches, first.input_rows, first.emitted_upserts, first.emitted_deletes) == (2, 4, 2, 1)
    assert (first.dead_lettered, first.dead_letter_reasons) == (1, {"no_company": 1})
    assert (first.source_version, first.snapshot_running) == (world.version(), False)
    assert first.batch_seconds > 0
    assert first.committed_at < first.batch_ended_at
    assert (second.batches, second.input_rows, second.source_version) == (0, 0, world.version())
    assert second.batch_seconds is None


def test_the_job_goes_on_when_progress_cannot_be_written(world: World, caplog: pytest.LogCaptureFixture) -> None:
    listener = ProgressListener()
    missing = replace(world.settings, progress_table=f"{world.settings.progress_table}_missing_schema.x.y.z")
    table = ProgressTable(world.spark, missing, "run", lambda _: False, clock=iter([0.0, 0.0, 9.0, 9.0]).__next__)
    with caplog.at_level(logging.WARNING):
        assert not table.write_when_due(listener.completed, {})
    assert "progress was not written" in caplog.text


def test_a_source_without_a_column_of_the_contract_is_named(world: World) -> None:
    settings = replace(world.settings, columns=(*world.settings.columns, "absent"))
    with pytest.raises(main.SourceError, match=r"has no column absent.*deploy_stream"):
        main.run(world.spark, settings, world.variables)


def test_a_missing_source_and_a_missing_hub_say_what_to_do_next(world: World) -> None:
    world.insert(trade(1))
    absent = replace(world.settings, source_table=f"{world.environment.source_schema}.absent")
    with pytest.raises(main.PySparkException) as missing_table:
        main.run(world.spark, absent, world.variables)
    assert "run bootstrap and enable_cdf" in main.explained(missing_table.value)
    world.settings = replace(
        world.settings, routes=tuple(replace(line, topic=f"{world.id}-absent") for line in world.settings.routes)
    )
    quick = {**world.kafka_options, "kafka.max.block.ms": "2000"}
    with pytest.raises(Py4JError) as missing_hub:
        sink.write(world.spark.sql(f"SELECT 'x' AS value, '{world.id}-absent' AS topic, 0 AS partition"), quick)
    assert "run bootstrap" in main.explained(missing_hub.value)


def test_a_broker_that_comes_back_gets_everything(spark: Any, tmp_path: Path) -> None:
    with Broker(tmp_path / "kafka") as broker:
        world = World(spark, broker, tmp_path)
        world.create_source()
        with world.running() as query:
            world.insert(trade(1))
            query.processAllAvailable()
            broker.stop()
            world.insert(trade(2))
            broker.start()
            query.processAllAvailable()
        assert applied(world.events()) == world.expected()
