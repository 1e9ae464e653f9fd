"""Links between a client and a hub: publishers send events to it, subscribers receive them."""

import asyncio
import logging
import re
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from lpm.local.event_hubs.codec import AmqpValueError, Described
from lpm.local.event_hubs.faults import OF_PUBLICATIONS, Faults
from lpm.local.event_hubs.frames import AmqpError, Attach, Frame
from lpm.local.event_hubs.hub_log import HubLog, server_busy, size_exceeded
from lpm.local.event_hubs.messages import Position, events_of, message_of, partition_key, record_of
from lpm.local.event_hubs.partitioning import partition_of
from lpm.local.event_hubs.session import Delivery, IncomingLink, Link, Session

LARGEST_PUBLICATION = 1024 * 1024  # bytes, in the tiers Standard and Premium
AT_ONCE = 300  # events that a subscriber is given in one go
IDLE_SECONDS = 0.5
EPOCH = "com.microsoft:epoch"
RUNTIME_METRIC = "com.microsoft:enable-receiver-runtime-metric"
SELECTOR = "apache.org:selector-filter:string"
FILTER = r"amqp\.annotation\.x-opt-(offset|sequence-number|enqueued-time) (>=?) '(-?\d+|@latest)'"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Address:
    """Where a link leads: a hub, one of its partitions, or a partition as a consumer group sees it."""

    hub: str
    group: str = ""
    partition: str = ""

    @classmethod
    def of(cls, text: str) -> "Address":
        """Read ``amqps://host:port/hub/ConsumerGroups/group/Partitions/0`` or a part of it."""
        hub, *pairs = urlsplit(text).path.strip("/").split("/")
        named = {name.lower(): value for name, value in zip(pairs[::2], pairs[1::2], strict=False)}
        return cls(hub, named.get("consumergroups", ""), named.get("partitions", ""))


@dataclass(frozen=True)
class Place:
    """A hub that exists, with its number of partitions, and the partition that a link is about, if any."""

    hub: str
    partitions: int
    partition: int | None

    @classmethod
    async def of(cls, address: Address, hubs: HubLog) -> "Place":
        """Look it up.

        Raises:
            AmqpError: there is no such hub or partition.
        """
        partitions = await hubs.partitions(address.hub)
        if partitions is None:
            raise AmqpError("amqp:not-found", f"The messaging entity '{address.hub}' could not be found.")
        if address.partition and address.partition not in map(str, range(partitions)):
            raise AmqpError(
                "com.microsoft:argument-out-of-range",
                f"The specified partition is invalid for an EventHub partition sender or receiver. It should be "
                f"between 0 and {partitions - 1}; it is '{address.partition}'.",
            )
        return cls(address.hub, partitions, int(address.partition) if address.partition else None)


class Publisher(IncomingLink):
    """A link through which a client publishes. A delivery is acknowledged after the broker has acknowledged it.

    Deliveries are stored one after the other, so their order stays; meanwhile the client's connection is not read,
    which holds back a client that is too fast.
    """

    def __init__(self, session: Session, attach: Attach, place: Place, hubs: HubLog, faults: Faults) -> None:
        super().__init__(session, attach)
        self._place, self._hubs, self._faults = place, hubs, faults

    async def take(self, delivery: Delivery) -> None:
        """Store it."""
        try:
            if await self._publish(delivery.message, delivery.message_format):
                self.settle(delivery)
        except AmqpError as refused:
            self.settle(delivery, refused)

    async def _publish(self, message: bytes, message_format: int) -> bool:
        """Store a publication; says whether the client is to be told.

        Raises:
            AmqpError: it is refused.
        """
        hub = self._place.hub
        if len(message) > LARGEST_PUBLICATION:
            raise size_exceeded(hub)
        try:
            records = [record_of(event) for event in events_of(message, message_format)]
            partition = self._partition(message)
        except AmqpValueError as error:
            raise AmqpError("amqp:decode-error", str(error)) from error
        fault = self._faults.take(*OF_PUBLICATIONS, hub=hub, partition=partition)
        kind = fault.kind if fault else None
        if fault:
            match kind:
                case "throttle":
                    self._faults.throttled[hub] += 1
                    raise server_busy()
                case "reject":
                    raise AmqpError(fault.condition, "The publication is rejected on demand.")
                case "detach":
                    self.detach(AmqpError(fault.condition, "The link is detached on demand."))
                case "drop":
                    self.session.wire.abort()
                case "stall":
                    await asyncio.sleep(fault.seconds)
        if kind in ("detach", "drop", "silence"):
            return False
        await self._hubs.store(hub, partition, records)
        if kind == "store_then_drop":
            self.session.wire.abort()
        return kind in (None, "stall")

    def _partition(self, message: bytes) -> int:
        if self._place.partition is not None:
            return self._place.partition
        key = partition_key(message)
        return partition_of(key, self._place.partitions) if key else self._hubs.next_partition(self._place.partitions)


class Subscriber(Link):
    """A link through which a client receives the events of one partition, already settled."""

    def __init__(self, session: Session, attach: Attach, place: Place, offset: int, hubs: HubLog) -> None:
        assert place.partition is not None
        super().__init__(session, attach)
        self.epoch: int | None = attach.properties.get(EPOCH)
        self.hub, self.partition = place.hub, place.partition
        self._metrics = RUNTIME_METRIC in attach.wanted
        self._hubs, self._reader = hubs, hubs.reader(place.hub, place.partition, offset)
        self._allowed = self._sent = 0  # counts of deliveries
        self._more_allowed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send."""
        self._task = asyncio.create_task(self._run(), name=f"subscriber {self.hub}/{self.partition}")

    def flow(self, frame: Frame) -> None:
        """Take the credit: how many deliveries the client has seen and how many more it wants."""
        seen, credit = frame.fields[5], frame.fields[6]
        self._allowed = (seen or 0) + (credit or 0)
        if self._allowed > self._sent:
            self._more_allowed.set()

    def steal(self, error: AmqpError) -> None:
        """End because another receiver takes over."""
        self.detach(error)
        if self._task:
            self._task.cancel()

    async def close(self) -> None:
        """End the reading."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._reader.close()

    async def _run(self) -> None:
        try:
            while True:
                await self._more_allowed.wait()
                most = min(self._allowed - self._sent, AT_ONCE)
                for position, record in await self._reader.read(most, IDLE_SECONDS):
                    self.send(message_of(record, position, *await self._newest()))
                    self._sent += 1
                await self.session.wire.drain()
                if self._sent >= self._allowed:
                    self._more_allowed.clear()
        except ConnectionError:
            pass  # the connection ends, and this link with it
        except Exception as error:
            log.exception("%s/%s cannot be read", self.hub, self.partition)
            self.detach(AmqpError("amqp:internal-error", str(error)))

    async def _newest(self) -> tuple[Position | None, int]:
        """The newest event of the partition and the present moment, if the client wants to know."""
        if not self._metrics:
            return None, 0
        return (await self._hubs.partition(self.hub, self.partition)).newest, int(time.time() * 1000)


class Receivers:
    """Who receives what. A receiver with an epoch owns its partition within its consumer group."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, int], list[Subscriber]] = defaultdict(list)

    def admit(self, group: str, subscriber: Subscriber) -> Callable[[], None]:
        """Let a receiver in and end those that it replaces; call what is returned when it has gone.

        Raises:
            AmqpError: another one owns the partition.
        """
        here = self._known[subscriber.hub, group, subscriber.partition]
        epochs = [other.epoch for other in here if other.epoch is not None]
        if epochs and (subscriber.epoch is None or subscriber.epoch < max(epochs)):
            raise AmqpError(
                "amqp:link:stolen",
                f"At least one receiver for the endpoint is created with epoch of '{max(epochs)}', and so a receiver "
                f"with epoch '{subscriber.epoch}' is not allowed. Either reconnect with a higher epoch, or make sure "
                "all epoch receivers are closed or disconnected.",
            )
        if subscriber.epoch is not None:
            for other in here:
                text = f"New receiver with higher epoch of '{subscriber.epoch}' is created, so '{other.name}' ends."
                other.steal(AmqpError("amqp:link:stolen", text))
            here.clear()
        here.append(subscriber)
        return lambda: here.remove(subscriber) if subscriber in here else None


async def starting_offset(attach: Attach, place: Place, hubs: HubLog) -> int:
    """The offset at which a receiver's filter lets it start.

    Raises:
        AmqpError: the filter is none of those that the service knows, or names what is not there yet.
    """
    assert place.partition is not None
    selector = attach.filters.get(SELECTOR)
    text = selector.value if isinstance(selector, Described) else selector
    text = text.decode() if isinstance(text, bytes) else text
    if text is None:
        return (await hubs.partition(place.hub, place.partition)).begin
    found = re.fullmatch(
        r"amqp\.annotation\.x-opt-(offset|sequence-number|enqueued-time) (>=?) '(-?\d+|@latest)'", text
    )
    if found is None:
        raise AmqpError("com.microsoft:argument-error", f"The filter is not one that this service knows: {text}")
    field, comparison, value = found.groups()
    after = 1 if comparison == ">" else 0
    if field == "enqueued-time":
        return await hubs.offset_after(place.hub, place.partition, int(value) + after)
    known = await hubs.partition(place.hub, place.partition)
    if value == "@latest":
        return known.end
    if int(value) >= known.end and int(value) + after > known.end:
        text = f"The supplied position '{value}' is invalid. The last one in the system is '{known.end - 1}'."
        raise AmqpError("com.microsoft:argument-error", text)
    return max(int(value) + after, known.begin)
