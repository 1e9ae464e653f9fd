"""Events in, rows of each output out."""

import json
from typing import Any

import pytest

from lpm.config import Company, Config, load_config
from lpm.local.router.compiling import compile_query
from lpm.local.router.engine import Engine, Routed
from lpm.render import router

HOSTILE_IDS = (
    "O'Neill",
    "a]b[c",
    'quo"te',
    "🙂",
    "back\\slash",
    "-- x",
    "/* x */",
    "%",
    "ß",
    "x" * 400,
    "c-1",
    "trail ",
)


def config_of(*ids: str) -> Config:
    companies = tuple(
        Company(id=company_id, name="x", shard="shard-01", partitions=(0,), slug=f"c{number}")
        for number, company_id in enumerate(ids)
    )
    return load_config().model_copy(update={"companies": companies, "shards": ("shard-01",)})


def engine_of(*ids: str) -> Engine:
    return Engine(compile_query(router.query(config_of(*ids), "shard-01"), router.INPUT))


def body(**fields: Any) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode()


def companies(routed: Routed) -> dict[str, list[str | None]]:
    return {alias: table["info_companyid"].to_pylist() for alias, table in routed.outputs.items()}


def test_hostile_ids_each_reach_their_own_output() -> None:
    engine = engine_of(*HOSTILE_IDS)
    routed = engine.run([body(info_companyid=company_id) for company_id in HOSTILE_IDS], [0] * len(HOSTILE_IDS))
    assert companies(routed) == {f"company-c{number}": [company_id] for number, company_id in enumerate(HOSTILE_IDS)}


@pytest.mark.parametrize(
    "stranger", ["C-1", "c-1 ", "end", " c-1", "ss", "SS", "o'neill", "c-1\0", "", None, "X" * 400]
)
def test_what_is_not_exactly_a_company_is_unrouted(stranger: str | None) -> None:
    assert companies(engine_of(*HOSTILE_IDS).run([body(info_companyid=stranger)], [0])) == {"unrouted": [stranger]}


def test_an_absent_company_is_unrouted_and_absent_fields_are_null() -> None:
    rows = engine_of("a").run([b"{}"], [3]).outputs["unrouted"].to_pylist()
    assert rows == [{**dict.fromkeys(router.COLUMNS), "partition_id": 3}]


@pytest.mark.parametrize(
    "payload",
    [
        "x" * 1_000_000,
        "🙂" * 1000,
        json.dumps({"price": "1.100000000000000000", "nested": {"a": [1.10, 1e400, None]}}),
        "nul \x00 inside",
        "lines\r\nand\ttabs and \u2028",
        '"quoted" \\ back\\slash \\u0041',
        "",
    ],
    ids=["1 MB", "emoji", "JSON text", "NUL", "white space", "escapes", "empty"],
)
def test_a_payload_arrives_byte_for_byte(payload: str) -> None:
    for ascii_only in (True, False):
        event = json.dumps({"info_companyid": "a", "payload": payload}, ensure_ascii=ascii_only).encode()
        assert engine_of("a").run([event], [0]).outputs["company-c0"]["payload"].to_pylist() == [payload]


@pytest.mark.parametrize(
    "message",
    [
        b'{"a":"\\ud800"}',
        b'[{}, {"a":"\\ud800"}]',
        b"[" * 100_000,
        b"",
        b"nonsense",
        b'{"a":',
        b"5",
        b'"text"',
        b"null",
        b"[1]",
        b'{"info_companyid":"\xff"}',
        b'{"a":1} trailing',
        b"\x00",
    ],
)
def test_a_message_that_is_no_event_is_dropped_and_counted_and_the_others_pass(message: bytes) -> None:
    good = body(info_companyid="a", event_id="1")
    routed = engine_of("a").run([good, message, good], [0, 1, 2])
    assert routed.malformed == 1
    assert {alias: table["partition_id"].to_pylist() for alias, table in routed.outputs.items()} == {
        "company-c0": [0, 2]
    }


def test_blanks_around_an_event_mean_nothing() -> None:
    engine = engine_of("a")
    assert companies(engine.run([b'{"info_companyid":"a"}'], [0])) == {"company-c0": ["a"]}
    routed = engine.run([b' {"info_companyid":"x"}', b'\n\t{"info_companyid":"a"} \r\n'], [0, 0])
    assert routed.malformed == 0
    assert companies(routed) == {"company-c0": ["a"], "unrouted": ["x"]}


def test_a_message_may_hold_an_array_or_lines_of_events() -> None:
    a, b = body(info_companyid="a"), body(info_companyid="b")
    routed = engine_of("a", "b").run(
        [b"[" + a + b"," + b + b"]", a + b"\n" + b + b"\n", b"\xef\xbb\xbf" + a], [0, 1, 2]
    )
    assert routed.malformed == 0
    assert companies(routed) == {"company-c0": ["a", "a", "a"], "company-c1": ["b", "b"]}


def test_numbers_that_are_none_become_null_and_exact_ones_stay_exact() -> None:
    events = [body(info_companyid="a", version=value) for value in (2**63 - 1, "42", "x", None, {"a": 1}, 2**63)]
    table = engine_of("a").run(events, [0] * len(events)).outputs["company-c0"]
    assert table["version"].to_pylist() == [2**63 - 1, 42, None, None, None, None]


def test_field_names_match_by_case_and_unknown_fields_are_ignored() -> None:
    routed = engine_of("a").run([b'{"INFO_COMPANYID":"a","info_companyid":"a","extra":{"x":1},"PartitionId":99}'], [7])
    row = routed.outputs["company-c0"].to_pylist()[0]
    assert set(row) == set(router.COLUMNS)
    assert row["partition_id"] == 7


def test_the_order_within_an_output_is_the_order_of_the_batch() -> None:
    events = [body(info_companyid="ab"[number % 2], event_id=str(number)) for number in range(5000)]
    routed = engine_of("a", "b").run(events, [0] * len(events))
    assert routed.outputs["company-c0"]["event_id"].to_pylist() == [str(number) for number in range(0, 5000, 2)]


def test_batches_do_not_leak_into_each_other() -> None:
    engine = engine_of("a")
    assert companies(engine.run([body(info_companyid="a")], [0])) == {"company-c0": ["a"]}
    assert companies(engine.run([b"bad"], [0])) == {}
    assert companies(engine.run([], [])) == {}
