"""A running Event Hubs stand-in and a hub of a test's own, seen from both sides."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from azure.eventhub import EventData, EventHubConsumerClient, EventHubProducerClient, TransportType
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from lpm.local.event_hubs.server import EventHubsServer
from lpm.local.kafka import Broker

PARTITIONS = 4
GROUP = "$default"
KILOBYTE = 1024


def eventually(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.02)  # between two looks at the condition
    raise AssertionError(f"not within {seconds} s: {what}")


@dataclass
class World:
    """A running stand-in, and a hub of the test's own."""

    server: EventHubsServer
    kafka: Broker
    hub: str

    def producer(self, hub: str = "", **options: Any) -> EventHubProducerClient:
        """Without TLS, as in development. Failures come fast unless the test says otherwise."""
        text = self.server.development_connection_string
        return EventHubProducerClient.from_connection_string(
            text, eventhub_name=hub or self.hub, **{"retry_total": 0, **options}
        )

    def secure_options(self) -> dict[str, Any]:
        """The way in that production has: TLS at an address of our own, trusting our authority."""
        return {
            "custom_endpoint_address": f"sb://{self.server.endpoint}",
            "connection_verify": str(self.server.ca_file),
            "transport_type": TransportType.Amqp,
            "retry_total": 0,
        }

    def consumer(self, **options: Any) -> EventHubConsumerClient:
        return EventHubConsumerClient.from_connection_string(
            self.server.development_connection_string, GROUP, eventhub_name=self.hub, **options
        )

    def received(self, count: int, partition: str | None = None, **options: Any) -> list[EventData]:
        """The first ``count`` events that azure-eventhub receives from the start on."""
        found: list[EventData] = []
        errors: list[Exception] = []
        client = self.consumer()

        def on_event(_: Any, event: EventData | None) -> None:
            if event is not None:
                found.append(event)

        where = {"partition_id": partition} if partition is not None else {}
        reading = threading.Thread(
            target=client.receive,
            args=(on_event,),
            kwargs={
                "on_error": lambda _, error: errors.append(error),
                "starting_position": "-1",
                "max_wait_time": 1,
                **where,
                **options,
            },
        )
        reading.start()
        try:
            eventually(lambda: len(found) >= count or errors, f"{count} events, found {len(found)}")
        finally:
            client.close()
            reading.join(30)
        assert not errors
        return found[:count]

    def fault(self, kind: str, **options: Any) -> None:
        httpx.post(f"{self.server.control_url}/stand-in/faults", json={"kind": kind, **options}).raise_for_status()

    def log(self, partition: int) -> list[Any]:
        """The records of a partition, as every reader of the broker sees them."""
        settings = {**self.kafka.client_settings(), "group.id": "a-test", "enable.auto.commit": False}
        consumer = Consumer(settings)
        low, high = consumer.get_watermark_offsets(TopicPartition(self.hub, partition), timeout=10)
        consumer.assign([TopicPartition(self.hub, partition, low)])
        found: list[Any] = []
        eventually(lambda: found.extend(consumer.consume(100, 0.1)) or len(found) >= high - low, "the log")
        consumer.close()
        return found

    def bodies(self, partition: int) -> list[bytes]:
        return [record.value() for record in self.log(partition)]

    def send(self, producer: EventHubProducerClient, *bodies: bytes, partition: int = 0, timeout: float = 10) -> None:
        batch = producer.create_batch(partition_id=str(partition))
        for body in bodies:
            batch.add(EventData(body))
        producer.send_batch(batch, timeout=timeout)


@contextmanager
def a_world(server: EventHubsServer, kafka: Broker) -> Iterator[World]:
    """A world for one test. No fault is left when it ends."""
    hub = f"hub-{uuid.uuid4().hex[:8]}"
    admin = AdminClient(kafka.client_settings())
    admin.create_topics([NewTopic(hub, num_partitions=PARTITIONS, replication_factor=1)])[hub].result(20)
    yield World(server, kafka, hub)
    httpx.delete(f"{server.control_url}/stand-in/faults").raise_for_status()
