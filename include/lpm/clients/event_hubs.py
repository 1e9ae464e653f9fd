"""One Event Hub, with Microsoft's azure-eventhub: is it as configured, and sending events to it.

Sending is at-least-once. When an acknowledgement is lost a batch is sent again, by azure-eventhub or here, and is then
stored twice; events must say themselves what they are (their sequence does).
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from lpm.clients.event_hubs_secrets import event_hubs_secrets
from lpm.config import Environment
from lpm.render import names

if TYPE_CHECKING:
    from azure.eventhub import EventDataBatch, EventHubProducerClient

ENDPOINT, CA_FILE = "event_hubs_endpoint", "event_hubs_ca_file"  # keys of the Airflow connection's extra, local only
THROTTLED, TOO_LARGE = "server-busy", "link:message-size-exceeded"
HOPELESS = frozenset({"unauthorized-access", "not-found", TOO_LARGE})  # waiting does not mend these
NEXT_STEPS = {
    "unauthorized-access": "give the identity of the Airflow connection the role Azure Event Hubs Data Sender on the "
    "hub (bootstrap does, from azure.airflow_object_id; a new role takes minutes), or with kafka_auth: "
    "connection_string correct event_hubs_connection_string in the connection's extra.",
    THROTTLED: "the namespace is at its limit: raise event_hubs.max_throughput_units and run bootstrap, or trigger "
    "again when less is sent; sending an event twice does no harm.",
    "not-found": "run bootstrap, which makes the hub; if it is there, correct event_hubs.namespace.",
}
OTHERWISE = (
    "check that the namespace is up and that port 5671 is open from this machine, then trigger again: "
    "sending an event twice does no harm."
)
Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


class EventHubError(RuntimeError):
    """The hub cannot be reached, is not there, or refuses. The message names hub, namespace and the next step.

    ``condition`` is AMQP's word for it without its prefix, such as ``not-found``; empty when there is none.
    """

    def __init__(self, message: str, condition: str = "") -> None:
        super().__init__(message)
        self.condition = condition


class HubDiffers(EventHubError):  # noqa: N818  reads as what is wrong
    """The hub is not what the configuration says. Trying again changes nothing."""


@dataclass(frozen=True)
class OutgoingEvent:
    """An event and the partition that it belongs to."""

    partition: int
    body: bytes


@dataclass(frozen=True)
class SendReport:
    """What sending did.

    ``refused`` are events that are too large for the hub, in the order given. All others are stored; where ``retries``
    is not 0, some of them perhaps twice.
    """

    sent: int
    batches: int
    retries: int
    waited_seconds: float  # of ``seconds``, for a hub that was busy or out of reach
    seconds: float
    refused: tuple[OutgoingEvent, ...]


@dataclass(frozen=True)
class HubFacts:
    """What a hub says of itself. ``largest_publication`` is in bytes."""

    partitions: int
    largest_publication: int


@dataclass(frozen=True)
class Patience:
    """How long to try. A throttled hub asks for 4 seconds; each wait is twice as long as the one before."""

    tries: int = 6  # of one batch
    first_wait_seconds: float = 4.0
    longest_wait_seconds: float = 60.0
    timeout_seconds: float = 30.0  # for one acknowledgement; azure-eventhub waits for it twice

    def waits(self) -> Iterator[float | None]:
        """The pause after each failed try; None after the last."""
        for attempt in range(self.tries - 1):
            yield min(self.first_wait_seconds * 2**attempt, self.longest_wait_seconds)
        yield None


@dataclass(frozen=True)
class HubLogin:
    """How to get in: a connection string of the namespace or an Entra credential.

    ``endpoint`` (``host:port``) and ``ca_file`` are for a hub that is not at the namespace's own address.
    """

    connection_string: str = field(default="", repr=False)
    credential: Any = None  # an azure-core TokenCredential
    endpoint: str = ""
    ca_file: str = ""

    @classmethod
    def of(cls, environment: Environment) -> "HubLogin":
        """As the environment's Airflow connection for Azure says, the same way as its stream job.

        Raises:
            SecretMissing: the connection lacks the connection string that the environment logs in with.
        """
        from airflow.sdk import BaseHook

        extra = BaseHook.get_connection(environment.azure.connection).extra_dejson
        place = {"endpoint": extra.get(ENDPOINT, ""), "ca_file": extra.get(CA_FILE, "")}
        if environment.event_hubs.kafka_auth == "connection_string":
            secrets = event_hubs_secrets(environment)
            return cls(connection_string=secrets[names.EVENT_HUBS_SECRET_KEY], **place)
        return cls(credential=_HookCredential(environment.azure.connection), **place)


class EventHub:
    """One hub of an environment. Keeps no connection between calls, so it may be made anywhere and cross a fork."""

    def __init__(
        self, environment: Environment, hub: str, login: HubLogin | None = None, patience: Patience | None = None
    ) -> None:
        self.hub = hub
        self.namespace = environment.event_hubs.namespace
        self.partitions = environment.event_hubs.partitions  # as configured
        self._environment = environment
        self._login = login
        self._patience = patience or Patience()

    @classmethod
    def of_shard(cls, environment: Environment, shard: str) -> "EventHub":
        """The hub of a shard."""
        return cls(environment, names.hub_name(shard))

    def verify(self) -> HubFacts:
        """See that the hub is there, has its partitions, and that we may send to it. Sends nothing.

        Raises:
            HubDiffers: it has another number of partitions than the configuration says.
            EventHubError: it is not there or cannot be reached, or we may not send.
        """
        from azure.eventhub.exceptions import EventHubError as AzureEventHubError

        try:
            with self._new_client() as client:
                partitions = len(client.get_partition_ids())
                # Opens a link to send through, which only an identity with the right to send gets.
                limit = client.create_batch().max_size_in_bytes
        except AzureEventHubError as error:
            raise self.error("cannot be verified", error) from error
        if partitions != self.partitions:
            raise HubDiffers(
                f"{self} has {partitions} partitions; expected {self.partitions}, as event_hubs.partitions says\n"
                f"Next step: partition counts are frozen: set event_hubs.partitions to {partitions} (and the "
                "companies' partitions within it), run `lpm render`, then run bootstrap again."
            )
        return HubFacts(partitions, limit)

    def send(self, events: Iterable[OutgoingEvent]) -> SendReport:
        """Send events in full batches, each to its partition, in the order given within a partition.

        The events are taken one by one: at most one batch of each partition is in memory.

        Raises:
            ValueError: an event names a partition that the configuration has not.
            EventHubError: the hub did not take a batch after all tries. Everything may be sent again.
        """
        begun = time.monotonic()
        sending = _Sending(self, self._new_client, self._patience)
        try:
            for event in events:
                sending.add(event)
            sending.flush()
        finally:
            sending.close()
        return SendReport(
            sent=sending.sent,
            batches=sending.batches,
            retries=sending.retries,
            waited_seconds=sending.waited_seconds,
            seconds=time.monotonic() - begun,
            refused=tuple(sending.refused),
        )

    def error(self, what: str, cause: Exception) -> EventHubError:
        """An error of ours for one of azure-eventhub's."""
        condition = _condition(cause)
        step = NEXT_STEPS.get(condition, OTHERWISE)
        return EventHubError(f"{self} {what}: {_reason(cause)}\nNext step: {step}", condition)

    def __str__(self) -> str:
        return f"hub {self.hub} of namespace {self.namespace}"

    def _new_client(self) -> "EventHubProducerClient":
        from azure.eventhub import EventHubProducerClient, TransportType

        # It tells of every change of every link's state.
        logging.getLogger("azure.eventhub").setLevel(logging.WARNING)
        login = self._login or HubLogin.of(self._environment)
        options: dict[str, Any] = {
            "retry_total": 0,  # patience is ours: azure-eventhub does not wait for a throttled hub
            "transport_type": TransportType.Amqp,
            "auth_timeout": self._patience.timeout_seconds,
            "custom_endpoint_address": f"sb://{login.endpoint}" if login.endpoint else None,
            "connection_verify": login.ca_file or None,
        }
        if login.connection_string:
            return EventHubProducerClient.from_connection_string(
                login.connection_string, eventhub_name=self.hub, **options
            )
        host = names.event_hubs_host(self._environment)
        return EventHubProducerClient(host, self.hub, login.credential, **options)


@dataclass
class _Filling:
    """A batch that is being filled, and the events in it."""

    batch: "EventDataBatch"
    events: list[OutgoingEvent] = field(default_factory=list)


class _Sending:
    """One call of :meth:`EventHub.send`: the batches that are being filled and the connection."""

    def __init__(self, hub: EventHub, connect: "Callable[[], EventHubProducerClient]", patience: Patience) -> None:
        from azure.eventhub import EventData
        from azure.eventhub.exceptions import EventHubError as AzureEventHubError

        self.sent = self.batches = self.retries = 0
        self.waited_seconds = 0.0
        self.refused: list[OutgoingEvent] = []
        self._hub, self._connect, self._patience = hub, connect, patience
        self._event_data, self._failure = EventData, AzureEventHubError
        self._client: EventHubProducerClient | None = None
        self._filling: dict[int, _Filling] = {}  # by partition

    def add(self, event: OutgoingEvent) -> None:
        """Put an event into the batch of its partition; send that first when it is full."""
        if not 0 <= event.partition < self._hub.partitions:
            raise ValueError(
                f"an event for partition {event.partition} of {self._hub}; expected 0 to {self._hub.partitions - 1}"
            )
        if not self._fits(event):
            self.flush(event.partition)
            if not self._fits(event):
                self.refused.append(event)

    def flush(self, partition: int | None = None) -> None:
        """Send the batch of a partition, of every one if none is named."""
        for number in list(self._filling) if partition is None else [partition]:
            filling = self._filling.pop(number)
            if filling.events:
                self._send(filling)

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _fits(self, event: OutgoingEvent) -> bool:
        filling = self._filling.get(event.partition)
        if filling is None:
            number = str(event.partition)
            batch = self._patiently("cannot be opened", lambda client: client.create_batch(partition_id=number))
            filling = self._filling[event.partition] = _Filling(batch)
        try:
            filling.batch.add(self._event_data(event.body))
        except ValueError:  # its way of saying that the batch is full
            return False
        filling.events.append(event)
        return True

    def _send(self, filling: _Filling) -> None:
        timeout = self._patience.timeout_seconds
        try:
            self._patiently(
                f"did not take a batch (it took {self.sent} events before)",
                lambda client: client.send_batch(filling.batch, timeout=timeout),
            )
        except EventHubError as error:
            if error.condition == TOO_LARGE and len(filling.events) == 1:  # which only the hub could tell
                self.refused += filling.events
                return
            raise
        self.sent += len(filling.events)
        self.batches += 1

    def _patiently(self, what: str, action: "Callable[[EventHubProducerClient], Answer]") -> Answer:
        """Try until it works, with pauses.

        Raises:
            EventHubError: it did not in all tries, or waiting is of no use.
        """
        for wait in self._patience.waits():
            try:
                self._client = self._client or self._connect()
                return action(self._client)
            except self._failure as error:
                condition = _condition(error)
                if wait is None or condition in HOPELESS:
                    raise self._hub.error(what, error) from error
                log.warning("%s %s: %s; next try in %.1f s", self._hub, what, _reason(error), wait)
                if condition != THROTTLED:
                    self.close()  # whatever state it is in, the next try has a connection of its own
            time.sleep(wait)
            self.waited_seconds += wait
            self.retries += 1
        raise AssertionError("the last pause is None")


class _HookCredential:
    """The identity of an Airflow connection, as azure-eventhub wants one."""

    def __init__(self, connection_id: str) -> None:
        self._connection_id = connection_id

    def get_token(self, *scopes: str, **options: Any) -> Any:
        """A token for the scopes."""
        from airflow.providers.microsoft.azure.hooks.base_azure import AzureBaseHook

        return AzureBaseHook(conn_id=self._connection_id).get_token(*scopes, **options)


def _condition(error: Exception) -> str:
    """The AMQP condition behind a failure, without its prefix; empty when there is none."""
    from azure.eventhub.exceptions import AuthenticationError

    condition = str(getattr(error, "error", "") or "")
    # A token that was refused has no condition of its own. Azure-eventhub calls a login that timed out internal-error.
    if isinstance(error, AuthenticationError) and condition != "internal-error":
        return "unauthorized-access"
    return condition


def _reason(error: Exception) -> str:
    """What azure-eventhub says, once: it repeats it after the condition."""
    text = str(error).partition("\nError")[0]
    return "; ".join(line.strip() for line in text.splitlines() if line.strip()) or type(error).__name__
