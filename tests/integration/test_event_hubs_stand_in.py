"""The AMQP side of Event Hubs over a real broker, driven by Microsoft's unmodified azure-eventhub."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from azure.core.credentials import AccessToken
from azure.eventhub import EventData, EventHubConsumerClient, EventHubProducerClient
from azure.eventhub.exceptions import (
    AuthenticationError,
    ConnectError,
    ConnectionLostError,
    EventDataSendError,
    EventHubError,
    OperationTimeoutError,
)
from confluent_kafka import Producer
from event_hubs_world import KILOBYTE, PARTITIONS, World, a_world, eventually

from lpm.local import processes
from lpm.local.azure.identity import Identity
from lpm.local.event_hubs import codec, frames
from lpm.local.event_hubs.server import EventHubsServer, Ports
from lpm.local.kafka import Broker


@pytest.fixture
def world(event_hubs: EventHubsServer, kafka: Broker) -> Iterator[World]:
    with a_world(event_hubs, kafka) as made:
        yield made


# Both sides see one hub


def test_what_the_sdk_sends_lies_in_the_log_as_if_the_job_had_sent_it(world: World) -> None:
    event = json.dumps({"op": "delete", "info_companyid": "O'Neill 07"}).encode()
    with world.producer() as producer:
        world.send(producer, event, partition=2)
    (record,) = world.log(2)
    assert (record.value(), record.key(), record.headers()) == (event, None, None)
    assert [world.bodies(partition) for partition in (0, 1, 3)] == [[], [], []]


def test_what_the_job_sends_the_sdk_receives_with_its_place_in_the_log(world: World) -> None:
    producer = Producer(world.kafka.client_settings())
    for number in range(5):
        producer.produce(world.hub, f"event {number}".encode(), partition=1)
    producer.flush(10)
    records = world.log(1)
    received = world.received(5, "1", track_last_enqueued_event_properties=True)
    assert [event.body_as_str() for event in received] == [f"event {number}" for number in range(5)]
    assert [event.sequence_number for event in received] == [record.offset() for record in records]
    assert [event.offset for event in received] == [str(record.offset()) for record in records]
    assert [event.enqueued_time for event in received] == [
        datetime.fromtimestamp(record.timestamp()[1] / 1000, UTC) for record in records
    ]


def test_everything_of_an_event_survives_the_way_through_the_log(world: World) -> None:
    sent = EventData(b"body")
    sent.properties = {"text": "a", "number": 1}
    sent.message_id, sent.content_type, sent.correlation_id = "id-1", "application/json", "c-1"
    with world.producer() as producer:
        producer.send_event(sent, partition_key="company A", timeout=10)
    (event,) = world.received(1)
    assert event.body_as_str() == "body"
    assert event.properties == {b"text": b"a", b"number": 1}
    assert (event.message_id, event.content_type, event.correlation_id) == ("id-1", "application/json", "c-1")
    assert event.partition_key == b"company A"


def test_events_of_one_key_share_a_partition_and_keep_their_order(world: World) -> None:
    keys = [f"key {number}" for number in range(20)]
    with world.producer() as producer:
        for step in range(3):
            for key in keys:
                producer.send_batch([EventData(f"{key}/{step}")], partition_key=key, timeout=10)
    found = {}
    for partition in range(PARTITIONS):
        for record in world.log(partition):
            key, step = record.value().decode().split("/")
            assert record.key() == key.encode()
            found.setdefault(key, []).append((partition, int(step)))
    assert sorted(found) == sorted(keys)
    assert all([step for _, step in places] == [0, 1, 2] for places in found.values())
    assert all(len({partition for partition, _ in places}) == 1 for places in found.values())
    assert len({places[0][0] for places in found.values()}) > 1, "keys spread over partitions"


def test_events_without_key_and_partition_spread_over_all_partitions(world: World) -> None:
    with world.producer() as producer:
        for number in range(2 * PARTITIONS):
            producer.send_batch([EventData(str(number))], timeout=10)
    assert [len(world.log(partition)) for partition in range(PARTITIONS)] == [2] * PARTITIONS


def test_large_batches_and_large_events_are_whole_on_both_ways(world: World) -> None:
    bodies = [bytes([number]) * 200 * KILOBYTE for number in range(4)]
    with world.producer() as producer:
        world.send(producer, *bodies)
    assert world.bodies(0) == bodies
    assert [b"".join(event.body) for event in world.received(4, "0")] == bodies


# Where a consumer starts


def test_a_consumer_starts_where_it_asks_to(world: World) -> None:
    asked = {
        3: {"starting_position": "2"},  # after an offset
        4: {"starting_position": 3},  # after a sequence number
        2: {"starting_position": 2, "starting_position_inclusive": True},
        0: {"starting_position": datetime.now(UTC) - timedelta(days=1)},
    }
    with world.producer() as producer:
        world.send(producer, *(str(number).encode() for number in range(6)))
    with ThreadPoolExecutor(len(asked)) as pool:
        received = pool.map(lambda first: world.received(6 - first, "0", **asked[first]), asked)
    assert [[event.sequence_number for event in events] for events in received] == [
        list(range(first, 6)) for first in asked
    ]


def test_a_consumer_of_the_latest_receives_only_what_comes_then(world: World) -> None:
    with world.producer() as producer:
        world.send(producer, b"before")
        found: list[str] = []
        arrived = threading.Event()

        def on_event(_: Any, event: EventData) -> None:
            found.append(event.body_as_str())
            arrived.set()

        client = world.consumer()
        kwargs = {"partition_id": "0", "starting_position": "@latest"}
        reading = threading.Thread(target=client.receive, args=(on_event,), kwargs=kwargs)
        reading.start()
        try:
            # When the consumer is there is not to be seen from outside: send now and then until an event arrives.
            eventually(lambda: world.send(producer, b"after") or arrived.wait(0.5), "an event", 30)
        finally:
            client.close()
            reading.join(30)
    assert set(found) == {"after"}


def test_a_receiver_with_an_epoch_takes_over_from_a_lower_one(world: World) -> None:
    seen: dict[int, list[EventData]] = {1: [], 2: []}
    errors: list[Exception] = []
    clients = {level: world.consumer() for level in seen}

    def receive(client: EventHubConsumerClient, level: int) -> None:
        client.receive(
            lambda _, event: seen[level].append(event),
            partition_id="0",
            owner_level=level,
            starting_position="-1",
            on_error=lambda _, error: errors.append(error),
        )

    threads = {level: threading.Thread(target=receive, args=(clients[level], level)) for level in seen}
    try:
        with world.producer() as producer:
            world.send(producer, b"event")
        for level, thread in threads.items():
            thread.start()
            eventually(lambda level=level: seen[level], f"the event at receiver {level}")
        eventually(lambda: errors, "the first one is told")
        assert isinstance(errors[0], ConnectionLostError)
    finally:
        for client in clients.values():
            client.close()
        for thread in threads.values():
            thread.join(30)


# Ways in


def test_production_s_way_in_is_tls_with_a_token_of_the_managed_identity(world: World) -> None:
    class Credential:
        def get_token(self, *scopes: str, **_: Any) -> AccessToken:
            assert scopes == ("https://eventhubs.azure.net//.default",)
            token = Identity(world.server.identity_header).token("https://eventhubs.azure.net/", 60)
            return AccessToken(token["access_token"], int(token["expires_on"]))

    namespace = "evhns-lpm-local.servicebus.windows.net"
    with EventHubProducerClient(namespace, world.hub, Credential(), **world.secure_options()) as producer:
        world.send(producer, b"secure")
    assert world.bodies(0) == [b"secure"]


def test_tls_with_a_connection_string_works_and_needs_our_authority(world: World) -> None:
    text = world.kafka.connection_string
    options = world.secure_options()
    with EventHubProducerClient.from_connection_string(text, eventhub_name=world.hub, **options) as producer:
        world.send(producer, b"secure")
    del options["connection_verify"]
    distrusting = EventHubProducerClient.from_connection_string(text, eventhub_name=world.hub, **options)
    with distrusting, pytest.raises(EventHubError, match="certificate verify failed"):
        distrusting.create_batch()
    assert world.bodies(0) == [b"secure"]


@pytest.mark.parametrize(
    "wrong", [("SharedAccessKey=", "SharedAccessKey=x"), ("SharedAccessKeyName=local", "SharedAccessKeyName=other")]
)
def test_a_wrong_key_is_refused(world: World, wrong: tuple[str, str]) -> None:
    text = world.server.development_connection_string.replace(*wrong)
    with (
        EventHubProducerClient.from_connection_string(text, eventhub_name=world.hub, retry_total=0) as producer,
        pytest.raises(AuthenticationError, match="is not right"),
    ):
        producer.create_batch()


@pytest.mark.parametrize(
    ("identity", "resource", "life"),
    [
        ("of somebody else", "https://eventhubs.azure.net", 60),
        ("", "https://management.azure.com", 60),
        ("", "https://eventhubs.azure.net", -1),
    ],
    ids=["of somebody else", "for something else", "too old"],
)
def test_a_wrong_token_is_refused(world: World, identity: str, resource: str, life: int) -> None:
    class Credential:
        def get_token(self, *_: str, **__: Any) -> AccessToken:
            token = Identity(identity or world.server.identity_header).token(resource, life)["access_token"]
            return AccessToken(token, int(time.time()) + 3600)

    client = EventHubProducerClient("localhost", world.hub, Credential(), **world.secure_options())
    with client, pytest.raises(AuthenticationError):
        client.create_batch()


def test_a_link_without_a_token_for_its_hub_is_refused(world: World) -> None:
    """Not to be had with the SDK, which always puts a token first: by hand, a frame at a time."""
    with socket.create_connection(("127.0.0.1", world.server.ports.plain), 10) as client:
        client.sendall(frames.SASL_HEADER)
        client.sendall(frames.frame(0, frames.performative(frames.SASL_INIT, codec.symbol("ANONYMOUS")), kind=1))
        client.sendall(frames.AMQP_HEADER + frames.open_frame("a test", 60) + frames.begin_frame(1))
        address = f"amqps://localhost/{world.hub}"
        asked = frames.Attach(1, 0, "link", True, 0, 0, "here", address, {}, {}, ())
        client.sendall(asked.answer(0).replace(codec.TRUE, codec.FALSE, 1))
        answer = b""
        while b"amqp:unauthorized-access" not in answer:
            more = client.recv(65536)
            assert more, f"closed after {answer!r}"
            answer += more


# What a hub says of itself


def test_a_hub_and_its_partitions_say_what_the_broker_knows(world: World) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    with world.producer() as producer:
        world.send(producer, b"a", b"b", partition=3)
        properties = producer.get_eventhub_properties()
        full, empty = (producer.get_partition_properties(partition) for partition in ("3", "0"))
    assert properties["eventhub_name"] == world.hub
    assert properties["partition_ids"] == ["0", "1", "2", "3"]
    assert (full["beginning_sequence_number"], full["last_enqueued_sequence_number"]) == (0, 1)
    assert (full["last_enqueued_offset"], full["is_empty"]) == ("1", False)
    assert before < full["last_enqueued_time_utc"] <= datetime.now(UTC)
    assert (empty["beginning_sequence_number"], empty["last_enqueued_sequence_number"]) == (-1, -1)
    assert (empty["last_enqueued_offset"], empty["is_empty"]) == ("-1", True)


def test_an_unknown_hub_is_not_found(world: World) -> None:
    with world.producer("no-such-hub") as producer:
        with pytest.raises(ConnectError) as found:
            producer.get_eventhub_properties()
        assert found.value.error == "not-found"
        with pytest.raises(EventHubError, match="could not be found"):
            producer.create_batch()


def test_an_unknown_partition_is_refused(world: World) -> None:
    with world.producer() as producer:
        with pytest.raises(ConnectError, match="Invalid partition 9"):
            world.send(producer, b"x", partition=9)
        with pytest.raises(EventHubError):
            producer.get_partition_properties("9")


# Limits and faults


def test_what_is_larger_than_a_megabyte_is_refused(world: World) -> None:
    with world.producer() as producer:
        assert producer.create_batch().max_size_in_bytes == KILOBYTE * KILOBYTE
        with pytest.raises(EventDataSendError) as refused:
            producer.send_event(EventData(bytes(KILOBYTE * KILOBYTE)), timeout=10)
        assert refused.value.error == "link:message-size-exceeded"
        producer.send_event(EventData(bytes(1_000_000)), partition_id="0", timeout=10)
    assert list(map(len, world.bodies(0))) == [1_000_000]


@pytest.mark.parametrize(
    ("kind", "options", "stored"),
    [
        ("throttle", {}, 1),
        ("reject", {"condition": "amqp:internal-error"}, 1),
        ("detach", {"condition": "amqp:link:detach-forced"}, 1),
        ("drop", {}, 1),
        ("store_then_drop", {}, 2),
    ],
)
def test_the_sdk_gets_over_a_fault_and_a_lost_acknowledgement_stores_twice(
    world: World, kind: str, options: dict[str, Any], stored: int
) -> None:
    with world.producer(retry_total=3) as producer:
        world.send(producer, b"before")
        world.fault(kind, hub=world.hub, partition=0, **options)
        world.send(producer, b"event")
    assert world.bodies(0) == [b"before", *[b"event"] * stored]


@pytest.mark.parametrize(("kind", "stored"), [("silence", 0), ("store_then_silence", 2)])
def test_a_silent_hub_ends_in_a_timeout(world: World, kind: str, stored: int) -> None:
    with world.producer() as producer:
        world.send(producer, b"before")
        world.fault(kind, times=2)
        with pytest.raises(OperationTimeoutError):
            world.send(producer, b"event", timeout=1)
    assert world.bodies(0) == [b"before", *[b"event"] * stored]


def test_throttling_says_that_it_is_throttling(world: World) -> None:
    with world.producer() as producer:
        world.send(producer, b"before")
        world.fault("throttle", times=2)
        with pytest.raises(EventDataSendError) as refused:
            world.send(producer, b"event")
    assert refused.value.error == "server-busy"
    assert world.bodies(0) == [b"before"]


def test_a_stalled_hub_answers_late(world: World) -> None:
    with world.producer() as producer:
        world.send(producer, b"before")
        world.fault("stall", seconds=1.5)
        begun = time.monotonic()
        world.send(producer, b"event")
        assert time.monotonic() - begun >= 1.5
    assert world.bodies(0) == [b"before", b"event"]


def test_tokens_and_links_are_refused_on_demand(world: World) -> None:
    with world.producer() as producer:
        world.fault("refuse_token")
        with pytest.raises(AuthenticationError):
            producer.create_batch()
        world.fault("refuse_link", hub=world.hub, condition="amqp:unauthorized-access")
        with pytest.raises(EventHubError, match="refused on demand"):
            producer.create_batch()
        producer.create_batch()


def test_a_fault_waits_for_its_hub_and_partition(world: World) -> None:
    world.fault("throttle", hub="another-hub", times=9)
    world.fault("throttle", hub=world.hub, partition=3, times=9)
    with world.producer() as producer:
        world.send(producer, b"event", partition=2)
    assert world.bodies(2) == [b"event"]


def test_an_unknown_fault_is_refused(world: World) -> None:
    answer = httpx.post(f"{world.server.control_url}/stand-in/faults", json={"kind": "explode"})
    assert answer.status_code == 422
    assert "store_then_drop" in answer.text


# The process


def test_it_listens_on_the_loopback_alone_and_a_scanner_does_not_disturb_it(world: World) -> None:
    for port in (world.server.ports.plain, world.server.ports.secure):
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"AMQP\x03\x01\x00\x00" + b"\xff" * 64, b""):
            with socket.create_connection(("127.0.0.1", port), 10) as client:
                client.sendall(garbage)
    process = next(
        each
        for each in psutil.Process().children(recursive=True)
        if "lpm.local.event_hubs.serve" in each.cmdline() and str(world.server.folder) in each.cmdline()
    )
    listening = {each.laddr.ip for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN}
    assert listening == {processes.LOOPBACK}
    with world.producer() as producer:
        world.send(producer, b"still here")
    assert world.bodies(0) == [b"still here"]


def test_clients_outlive_a_restart_of_the_stand_in(kafka: Broker, world: World, tmp_path: Path) -> None:
    server = EventHubsServer(tmp_path, Ports.free(), kafka.bootstrap, kafka.connection_string, "a header")
    own = World(server, kafka, world.hub)
    with server:
        producer = own.producer(retry_total=3)
        own.send(producer, b"before")
    with server, producer:
        own.send(producer, b"after")
    assert world.bodies(0) == [b"before", b"after"]
