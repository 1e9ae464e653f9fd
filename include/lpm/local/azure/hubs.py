"""Event Hubs as topics of the local Kafka broker."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from lpm.local.azure.errors import AzureError, bad_request
from lpm.local.azure.settings import Kafka

TIMEOUT_SECONDS = 20
Answer = TypeVar("Answer")


class Hubs:
    """Creates, changes and deletes hubs."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._bootstrap = kafka.bootstrap
        self._members: dict[str, Consumer] = {}  # of groups; they read nothing

    @cached_property
    def _client(self) -> AdminClient:
        return AdminClient({**self._kafka.client_settings(), "log_level": 0})  # it would tell of every lost connection

    def partitions(self, hub: str) -> int | None:
        """How many partitions a hub has, or None if it does not exist.

        Raises:
            AzureError: the broker cannot be reached.
        """
        topics = self._ask(lambda: self._client.list_topics(timeout=TIMEOUT_SECONDS)).topics
        return len(topics[hub].partitions) if hub in topics else None

    def put(self, hub: str, partitions: int, retention_hours: int) -> None:
        """Create a hub, or change the retention of one that exists.

        Raises:
            AzureError: the partition count differs from the existing hub's, or the broker cannot be reached.
        """
        retention = {"retention.ms": str(retention_hours * 3_600_000), "cleanup.policy": "delete"}
        existing = self.partitions(hub)
        if existing is None:
            topic = NewTopic(hub, num_partitions=partitions, replication_factor=1, config=retention)
            self._ask(lambda: self._client.create_topics([topic])[hub].result(TIMEOUT_SECONDS))
            return
        if existing != partitions:
            raise bad_request(
                "MessagingGatewayBadRequest",
                f"Partition count cannot be changed for Event Hub in Standard SKU namespace: '{hub}' has {existing} "
                f"partitions, {partitions} were asked for.",
                hub,
            )
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in retention.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, hub, incremental_configs=entries)
        self._ask(lambda: self._client.incremental_alter_configs([resource])[resource].result(TIMEOUT_SECONDS))

    def delete(self, hub: str) -> None:
        """Delete a hub and all its events; nothing happens if it does not exist."""
        if self.partitions(hub) is not None:
            self._ask(lambda: self._client.delete_topics([hub])[hub].result(TIMEOUT_SECONDS))

    def ends(self, hubs: Sequence[str]) -> Mapping[str, Mapping[int, int]]:
        """The offset after the newest event of each partition, for those hubs that exist.

        Raises:
            AzureError: the broker cannot be reached.
        """
        topics = self._ask(lambda: self._client.list_topics(timeout=TIMEOUT_SECONDS)).topics
        parts = [TopicPartition(hub, part) for hub in hubs if hub in topics for part in topics[hub].partitions]
        if not parts:
            return {}
        asked = self._ask(lambda: self._client.list_offsets({part: OffsetSpec.latest() for part in parts}))
        found: dict[str, dict[int, int]] = {}
        for part, future in asked.items():
            end = self._ask(partial(future.result, TIMEOUT_SECONDS))
            found.setdefault(part.topic, {})[part.partition] = end.offset
        return found

    def committed(self, hub: str, group: str) -> Mapping[int, int]:
        """How far a consumer group has come in each partition of a hub that it has read.

        Raises:
            AzureError: the broker cannot be reached.
        """
        if group not in self._members:
            settings = {**self._kafka.client_settings(), "log_level": 0}
            self._members[group] = Consumer({**settings, "group.id": group, "enable.auto.commit": False})
        # Not the admin client: librdkafka 2.16.1 kills the process when it asks a new broker about its first group.
        wanted = [TopicPartition(hub, part) for part in range(self.partitions(hub) or 0)]
        parts = self._ask(lambda: self._members[group].committed(wanted, TIMEOUT_SECONDS))
        return {part.partition: part.offset for part in parts if part.offset >= 0}

    def _ask(self, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except KafkaException as error:
            fault = error.args[0]
            reason = fault.str() if isinstance(fault, KafkaError) else str(fault)
            raise AzureError(503, "ServerBusy", f"The broker at {self._bootstrap} did not take it: {reason}") from error
