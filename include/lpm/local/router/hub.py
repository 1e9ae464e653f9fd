"""The worker's side of the hub: reads batches, remembers what has left through the outputs."""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from lpm.local.router.job import RouterJob

MAX_EVENTS = 10_000
MAX_BYTES = 16 * 1024 * 1024  # of one batch; an event may have a megabyte
LINGER_SECONDS = 0.03  # wait for more once a first event is there: a commit's events arrive together
IDLE_SECONDS = 0.5  # how long an idle worker waits before it looks whether it shall stop
REQUEST_SECONDS = 10.0
LAG_SECONDS = 1.0  # the lag is asked for once a second and may be missing once
MOST_RETRY_SECONDS = 2.0

log = logging.getLogger(__name__)


class Stopped(Exception):  # noqa: N818  # no fault: the worker was asked to stop while it was waiting
    """The worker was asked to stop."""


@dataclass(frozen=True)
class Batch:
    """Messages in the order they were read. ``next_offsets`` says where to go on in each partition."""

    bodies: list[bytes]
    partition_ids: list[int]
    next_offsets: Mapping[int, int]
    oldest: datetime  # enqueued, UTC
    newest: datetime


class Hub:
    """Reads one topic with one consumer group.

    Partitions are assigned by hand: the worker is the group's only reader, so that neither a start nor a restart waits
    for the group to settle.
    """

    def __init__(self, job: RouterJob, stop: threading.Event) -> None:
        self._job = job
        self._stop = stop
        self._consumer = Consumer(_settings(job), logger=log)
        self._asking = Consumer(
            _settings(job), logger=log
        )  # reads nothing: a client that is reading answers nothing else
        self._done: dict[int, int] = {}  # partition -> offset after the last message that has left

    def open(self, resume: bool) -> None:
        """Find where to start and keep it, so that a worker that dies now starts there too. Waits for the topic.

        Raises:
            Stopped: the worker was asked to stop meanwhile.
        """
        delay = 0.1
        while True:
            try:
                self._done = self._starting_offsets(resume)
                self.commit({})
                self._consumer.assign([self._position(partition) for partition in self._done])
                return
            except KafkaException as error:
                log.warning("%s: the hub cannot be opened, trying again: %s", self._job.name, error)
                if self._stop.wait(delay):
                    raise Stopped from None
                delay = min(delay * 2, MOST_RETRY_SECONDS)

    def next_batch(self) -> Batch | None:
        """The next messages, or None when there were none for a while."""
        messages = self._read(1, IDLE_SECONDS)
        if not messages:
            return None
        size = len(messages[0].value() or b"")
        until = time.monotonic() + LINGER_SECONDS
        while len(messages) < MAX_EVENTS and size < MAX_BYTES and (left := until - time.monotonic()) > 0:
            more = self._read(min(MAX_EVENTS - len(messages), 500), left)
            size += sum(len(message.value() or b"") for message in more)
            messages += more
        moments = [message.timestamp()[1] for message in messages]
        return Batch(
            bodies=[message.value() or b"" for message in messages],
            partition_ids=[message.partition() for message in messages],
            next_offsets={message.partition(): message.offset() + 1 for message in messages},
            oldest=_moment(min(moments)),
            newest=_moment(max(moments)),
        )

    def commit(self, next_offsets: Mapping[int, int]) -> None:
        """Remember that everything before ``next_offsets`` has left.

        Raises:
            KafkaException: the hub did not take it. A later commit covers it; dying before means duplicates, no loss.
        """
        self._done |= next_offsets
        self._consumer.commit(offsets=[self._position(partition) for partition in self._done], asynchronous=False)

    def lag(self) -> int:
        """Messages in the hub that have not left. Any thread may ask.

        Raises:
            KafkaException: the hub does not answer.
        """
        done = dict(self._done)
        return sum(max(0, self._ends(partition, LAG_SECONDS)[1] - offset) for partition, offset in done.items())

    def close(self) -> None:
        """Close the connections."""
        self._asking.close()
        self._consumer.close()

    def _read(self, count: int, seconds: float) -> list[Message]:
        messages = []
        for message in self._consumer.consume(count, seconds):
            if error := message.error():  # the client library goes on by itself
                log.warning("%s: reading the hub: %s", self._job.name, error)
            else:
                messages.append(message)
        return messages

    def _starting_offsets(self, resume: bool) -> dict[int, int]:
        topic = self._consumer.list_topics(self._job.kafka.topic, REQUEST_SECONDS).topics[self._job.kafka.topic]
        if topic.error:
            raise KafkaException(topic.error)
        partitions = sorted(topic.partitions)
        wanted = [TopicPartition(topic.topic, partition) for partition in partitions]
        kept = {found.partition: found.offset for found in self._consumer.committed(wanted, REQUEST_SECONDS)}
        offsets: dict[int, int] = {}
        for partition in partitions:
            oldest, end = self._ends(partition)
            if (resume or self._job.start == "last") and kept[partition] >= 0:
                offsets[partition] = kept[partition]
            else:
                offsets[partition] = end if self._job.start == "latest" else oldest
        return offsets

    def _ends(self, partition: int, seconds: float = REQUEST_SECONDS) -> tuple[int, int]:
        oldest, end = self._asking.get_watermark_offsets(TopicPartition(self._job.kafka.topic, partition), seconds)
        return oldest, end

    def _position(self, partition: int) -> TopicPartition:
        return TopicPartition(self._job.kafka.topic, partition, self._done[partition])


def _settings(job: RouterJob) -> dict[str, str | int | bool]:
    settings: dict[str, str | int | bool] = {
        "bootstrap.servers": job.kafka.bootstrap,
        "group.id": job.kafka.group,
        "client.id": job.name,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",  # the kept offset has expired: everything that is still there
        "max.poll.interval.ms": 86_400_000,  # a stalled output is no reason to lose the partitions
        "fetch.wait.max.ms": 100,
        "fetch.error.backoff.ms": 100,
        "fetch.max.bytes": MAX_BYTES,
        "queued.max.messages.kbytes": MAX_BYTES // 1024,
        "reconnect.backoff.max.ms": 1000,
    }
    if job.kafka.username:
        settings |= {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": job.kafka.username,
            "sasl.password": job.kafka.password,
        }
    return settings


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
