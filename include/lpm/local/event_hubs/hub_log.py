"""The hubs as topics of the local broker: what they are, storing events, reading them.

confluent_kafka waits in threads of its own; this module makes that awaitable.
"""

import asyncio
import itertools
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from lpm.local.azure.settings import Kafka
from lpm.local.event_hubs.frames import AmqpError
from lpm.local.event_hubs.messages import Position, Record

REQUEST_SECONDS = 10.0
STORE_SECONDS = 30.0  # after so long without the broker's acknowledgement a publication has failed
LEADER_SECONDS = 5.0  # a topic that was just created has no leaders yet
NO_LEADER_YET = (KafkaError._NOENT, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION)
LARGEST_RECORD = 1_048_588  # of a broker that is not told otherwise
BUFFERED_RECORDS = 100_000
NOT_SET = Position(-1, -62_135_596_800_000)  # year 1: how the service says that there is no such moment

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Partition:
    """What a partition holds. ``newest`` is :data:`NOT_SET` when it is empty."""

    begin: int
    end: int  # offset that the next event will get
    newest: Position


class HubLog:
    """All hubs. Use it in one event loop, as a context manager."""

    def __init__(self, kafka: Kafka) -> None:
        self._settings = {**kafka.client_settings(), "log_level": 0}  # it would tell of every lost connection
        self._turn = itertools.count()
        self._closing = threading.Event()

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._admin = AdminClient(self._settings)
        self._producer = Producer(
            {
                **self._settings,
                "enable.idempotence": True,
                "linger.ms": 2,
                "message.max.bytes": LARGEST_RECORD,
                "message.timeout.ms": int(STORE_SECONDS * 1000),
                "queue.buffering.max.messages": BUFFERED_RECORDS,
                "queue.buffering.max.kbytes": 128 * 1024,
            }
        )
        self._polling = threading.Thread(target=self._poll, name="acknowledgements", daemon=True)
        self._polling.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._polling.join()
        self._producer.flush(1)

    async def partitions(self, hub: str) -> int | None:
        """How many partitions a hub has, or None if it does not exist.

        Raises:
            AmqpError: the broker does not answer.
        """
        try:
            topics = (await asyncio.to_thread(self._admin.list_topics, timeout=REQUEST_SECONDS)).topics
        except KafkaException as error:
            raise _amqp_error(error.args[0], hub) from error
        return len(topics[hub].partitions) if hub in topics else None

    async def partition(self, hub: str, number: int) -> Partition:
        """What a partition holds now.

        Raises:
            AmqpError: the broker does not answer, or there is no such partition.
        """
        begin, end, newest = await asyncio.gather(
            *(self._offset(hub, number, spec) for spec in (OffsetSpec.earliest(), OffsetSpec.latest())),
            self._offset(hub, number, OffsetSpec.max_timestamp()),
        )
        moment = newest.timestamp if end.offset > begin.offset else NOT_SET.enqueued
        last = end.offset - 1 if end.offset > begin.offset else NOT_SET.sequence
        return Partition(begin.offset, end.offset, Position(last, moment))

    async def offset_after(self, hub: str, number: int, milliseconds: int) -> int:
        """The offset of the first event that was enqueued at or after a moment; the next event's if there is none.

        Raises:
            AmqpError: the broker does not answer, or there is no such partition.
        """
        found = await self._offset(hub, number, OffsetSpec.for_timestamp(milliseconds))
        return found.offset if found.offset >= 0 else (await self.partition(hub, number)).end

    def next_partition(self, partitions: int) -> int:
        """The partition of a publication that names neither partition nor key."""
        return next(self._turn) % partitions

    async def store(self, hub: str, number: int, records: Sequence[Record]) -> None:
        """Append records, in their order. Returns when the broker has acknowledged all of them.

        Raises:
            AmqpError: the broker did not take all of them. Some of them may be stored.
        """
        if len(self._producer) + len(records) > BUFFERED_RECORDS:
            raise server_busy()
        publication = _Publication(len(records), self._loop)
        try:
            for record in records:
                self._producer.produce(
                    hub, record.value, record.key, number, publication.acknowledged, headers=list(record.headers)
                )
        except BufferError as error:
            raise server_busy() from error
        except KafkaException as error:
            raise _amqp_error(error.args[0], hub) from error
        await publication.done

    def reader(self, hub: str, number: int, offset: int) -> "Reader":
        """Reads a partition from an offset on."""
        return Reader(self._settings, hub, number, offset)

    async def _offset(self, hub: str, number: int, spec: OffsetSpec) -> Any:
        place = TopicPartition(hub, number)

        def ask() -> Any:
            return self._admin.list_offsets({place: spec}, request_timeout=REQUEST_SECONDS)[place].result()

        end = self._loop.time() + LEADER_SECONDS
        while True:
            try:
                return await asyncio.to_thread(ask)
            except KafkaException as error:
                if error.args[0].code() not in NO_LEADER_YET or self._loop.time() > end:
                    raise _amqp_error(error.args[0], hub) from error
            await asyncio.sleep(0.1)

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(0.1)


class Reader:
    """One partition from one offset on. Has a thread of its own, in which all its calls wait."""

    def __init__(self, settings: dict[str, Any], hub: str, number: int, offset: int) -> None:
        self._settings = settings
        self._place = TopicPartition(hub, number, offset)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"reader-{hub}-{number}")
        self._consumer: Consumer | None = None

    async def read(self, most: int, seconds: float) -> list[tuple[Position, Record]]:
        """Up to ``most`` events, as soon as there are any; none when there were none for a while."""
        messages: list[Message] = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._consume, most, seconds
        )
        return [(Position(message.offset(), message.timestamp()[1]), _record(message)) for message in messages]

    async def close(self) -> None:
        """End the thread, after the read that it is at."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _consume(self, most: int, seconds: float) -> list[Message]:
        if self._consumer is None:
            self._consumer = Consumer(
                {
                    **self._settings,
                    "group.id": "event-hubs",  # nothing is committed: an AMQP consumer keeps its own position
                    "enable.auto.commit": False,
                    "auto.offset.reset": "earliest",  # what was wanted has expired
                    "fetch.wait.max.ms": 100,
                    "queued.max.messages.kbytes": 4096,
                }
            )
            self._consumer.assign([self._place])
        found = self._consumer.consume(1, seconds)
        if found and most > 1:
            found += self._consumer.consume(most - 1, 0)  # what has been fetched already
        for message in found:
            if error := message.error():  # the client library goes on by itself
                log.warning("reading %s: %s", self._place, error)
        return [message for message in found if not message.error()]

    def _close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()


class _Publication:
    """Counts the broker's acknowledgements, which come in another thread."""

    def __init__(self, records: int, loop: asyncio.AbstractEventLoop) -> None:
        self.done: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._missing = records
        self._error: KafkaError | None = None
        if not records:
            self.done.set_result(None)

    def acknowledged(self, error: KafkaError | None, message: Message) -> None:
        self._missing -= 1
        self._error = self._error or error
        if not self._missing:
            self._loop.call_soon_threadsafe(self._finish, message.topic())

    def _finish(self, hub: str) -> None:
        if self.done.done():  # nobody waits any more
            return
        if self._error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(_amqp_error(self._error, hub))


def server_busy() -> AmqpError:
    """How the service throttles."""
    return AmqpError(
        "com.microsoft:server-busy",
        "The request was terminated because the entity is being throttled. Error code : 50002. "
        "Please wait 4 seconds and try again.",
    )


def size_exceeded(hub: str) -> AmqpError:
    """The answer to a publication that is too large."""
    return AmqpError("amqp:link:message-size-exceeded", f"The message for {hub} is larger than what is allowed.")


def _amqp_error(error: KafkaError, hub: str = "") -> AmqpError:
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return size_exceeded(hub)
    if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC):
        return AmqpError("amqp:not-found", f"The messaging entity '{hub}' could not be found.")
    return AmqpError("amqp:internal-error", f"The broker did not answer as expected: {error.str()}")


def _record(message: Message) -> Record:
    headers = tuple((name, value or b"") for name, value in message.headers() or ())
    return Record(message.value() or b"", message.key(), headers)
