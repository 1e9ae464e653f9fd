"""Our client of one hub against the stand-in over a real broker: what it sends arrives, whatever happens on the way."""

import json
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from event_hubs_world import KILOBYTE, PARTITIONS, World, a_world

from lpm.clients.event_hubs import (
    EventHub,
    EventHubError,
    HubDiffers,
    HubFacts,
    HubLogin,
    OutgoingEvent,
    Patience,
)
from lpm.config import Environment, load_config
from lpm.local.event_hubs.server import EventHubsServer
from lpm.local.kafka import Broker

_LOCAL = load_config().environment("local")
LOCAL = _LOCAL.model_copy(
    update={"event_hubs": _LOCAL.event_hubs.model_copy(update={"partitions": PARTITIONS})}  # as the world has them
)
QUICK = Patience(tries=4, first_wait_seconds=0.1, longest_wait_seconds=0.2, timeout_seconds=2)


@pytest.fixture
def world(event_hubs: EventHubsServer, kafka: Broker) -> Iterator[World]:
    with a_world(event_hubs, kafka) as made:
        yield made


def client(world: World, hub: str = "", environment: Environment = LOCAL, **login: str) -> EventHub:
    """Over TLS, as the local cloud's Airflow comes in."""
    usual = {
        "connection_string": world.kafka.connection_string,
        "endpoint": world.server.endpoint,
        "ca_file": str(world.server.ca_file),
    }
    return EventHub(environment, hub or world.hub, HubLogin(**{**usual, **login}), QUICK)


def events(count: int, size: int = KILOBYTE) -> list[OutgoingEvent]:
    """Numbered events over all partitions."""
    return [
        OutgoingEvent(number % PARTITIONS, json.dumps({"number": number}).encode().ljust(size))
        for number in range(count)
    ]


def of_one_partition(count: int) -> list[OutgoingEvent]:
    """The same in one partition: each link costs the SDK half a second."""
    return [OutgoingEvent(1, event.body) for event in events(count)]


def stored(world: World) -> list[OutgoingEvent]:
    return [OutgoingEvent(partition, body) for partition in range(PARTITIONS) for body in world.bodies(partition)]


def in_partition(found: list[OutgoingEvent], partition: int) -> list[bytes]:
    return [event.body for event in found if event.partition == partition]


def test_every_event_arrives_once_in_its_partition_and_in_order(world: World) -> None:
    wanted = events(5_000)
    report = client(world).send(iter(wanted))
    assert (report.sent, report.retries, report.refused) == (5_000, 0, ())
    assert report.batches == 8, "full batches of a megabyte"
    found = stored(world)
    for partition in range(PARTITIONS):
        assert in_partition(found, partition) == in_partition(wanted, partition)


def test_nothing_to_send_is_no_connection(world: World) -> None:
    report = client(world, endpoint="127.0.0.1:1").send([])
    assert (report.sent, report.batches, report.refused) == (0, 0, ())


def test_a_throttled_hub_is_waited_for_and_gets_the_same_batch_again(world: World) -> None:
    world.fault("throttle", hub=world.hub, times=4)  # azure-eventhub itself tries twice at once, each time
    report = client(world).send(of_one_partition(100))
    assert report.sent == 100
    assert report.retries == 2
    assert report.waited_seconds == pytest.approx(0.3), "the second wait is longer"
    assert Counter(stored(world)) == Counter(of_one_partition(100)), "nothing twice"


def test_waits_begin_with_the_four_seconds_that_the_service_asks_for_and_grow() -> None:
    assert list(Patience().waits()) == [4, 8, 16, 32, 60, None]


def test_a_hub_that_stays_busy_is_given_up_and_named(world: World) -> None:
    world.fault("throttle", hub=world.hub, times=100)
    with pytest.raises(
        EventHubError, match=rf"hub {world.hub} of namespace evhns-lpm-local did not take a batch"
    ) as error:
        client(world).send(events(1))
    assert error.value.condition == "server-busy"
    assert "Next step: the namespace is at its limit: raise event_hubs.max_throughput_units" in str(error.value)
    assert stored(world) == []


@pytest.mark.parametrize("kind", ["store_then_drop", "store_then_silence"])
def test_a_lost_acknowledgement_stores_twice_and_loses_nothing(world: World, kind: str) -> None:
    world.fault(kind, hub=world.hub, partition=1)
    report = client(world).send(of_one_partition(400))
    assert report.sent == 400
    assert Counter(stored(world)) == Counter(2 * of_one_partition(400))


@pytest.mark.parametrize("kind", ["drop", "detach", "silence", "reject", "refuse_link"])
def test_a_broken_connection_is_made_again_and_loses_nothing(world: World, kind: str) -> None:
    world.fault(kind, hub=world.hub, times=3, condition="amqp:internal-error")
    report = client(world).send(of_one_partition(400))
    assert report.sent == 400
    assert Counter(stored(world)) == Counter(of_one_partition(400))


def test_an_event_that_is_too_large_is_handed_back_and_the_others_arrive(world: World) -> None:
    large = OutgoingEvent(2, bytes(KILOBYTE * KILOBYTE))
    good = events(3)
    report = client(world).send([good[0], large, *good[1:]])
    assert report.refused == (large,)
    assert report.sent == 3
    assert Counter(stored(world)) == Counter(good)


def test_an_event_that_only_the_hub_finds_too_large_is_handed_back_too(world: World) -> None:
    # Around the largest size that the SDK takes; the broker's own limit is some bytes lower.
    sizes = range(KILOBYTE * KILOBYTE - 120, KILOBYTE * KILOBYTE, 8)
    report = client(world).send(OutgoingEvent(0, bytes(size)) for size in sizes)
    refused = [len(event.body) for event in report.refused]
    kept = [len(body) for body in world.bodies(0)]
    assert refused
    assert kept
    assert max(kept) < min(refused)
    assert kept + refused == list(sizes)


def test_a_partition_that_is_not_configured_is_refused_before_anything_is_sent(world: World) -> None:
    with pytest.raises(ValueError, match=r"partition 4 of hub .*expected 0 to 3"):
        client(world).send([OutgoingEvent(4, b"x")])


def test_a_hub_as_configured_is_verified(world: World) -> None:
    assert client(world).verify() == HubFacts(PARTITIONS, KILOBYTE * KILOBYTE)
    assert stored(world) == [], "verifying sends nothing"


def test_another_partition_count_says_both_and_what_to_do(world: World) -> None:
    hubs = LOCAL.event_hubs.model_copy(update={"partitions": 8})
    environment = LOCAL.model_copy(update={"event_hubs": hubs})
    with pytest.raises(
        HubDiffers, match=rf"has {PARTITIONS} partitions; expected 8, as event_hubs.partitions says\nNext step:"
    ):
        client(world, environment=environment).verify()


def test_an_unknown_hub_says_to_run_bootstrap_and_is_not_tried_again(world: World) -> None:
    hub = client(world, "no-such-hub")
    for call in (hub.verify, lambda: hub.send(events(1))):
        begun = time.monotonic()
        with pytest.raises(EventHubError, match=r"hub no-such-hub of .*\nNext step: run bootstrap"):
            call()
        assert time.monotonic() - begun < 5


def test_a_wrong_key_says_which_right_is_needed_and_is_not_tried_again(world: World) -> None:
    wrong = world.kafka.connection_string.replace("SharedAccessKey=", "SharedAccessKey=x")
    hub = client(world, connection_string=wrong)
    for call in (hub.verify, lambda: hub.send(events(1))):
        begun = time.monotonic()
        with pytest.raises(EventHubError, match=r"Next step: .*Azure Event Hubs Data Sender") as error:
            call()
        assert "InvalidSignature" in str(error.value), "what the hub said"
        assert time.monotonic() - begun < 5
        assert wrong.partition("SharedAccessKey=")[2] not in str(error.value), "no secret in a message"


def test_a_hub_out_of_reach_is_tried_and_then_named(world: World) -> None:
    with pytest.raises(EventHubError, match=r"cannot be opened.*\nNext step: check that the namespace is up"):
        client(world, endpoint="127.0.0.1:1").send(events(1))
