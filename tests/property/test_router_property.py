"""Whatever the companies and the events are: each event lands once, in the right output, unchanged."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from lpm.config import Company, Config, load_config
from lpm.local.router.compiling import compile_query
from lpm.local.router.engine import Engine
from lpm.render import router

IDS = st.one_of(
    st.sampled_from(["a", "A", "a ", "'", "''", "\\", "[a]", '"', "--", "🙂"]),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20),
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)  # half a surrogate pair is no UTF-8


def _config(ids: list[str]) -> Config:
    companies = tuple(
        Company(id=company_id, name="x", shard="shard-01", partitions=(0,), slug=f"c{number}")
        for number, company_id in enumerate(ids)
    )
    return load_config().model_copy(update={"companies": companies, "shards": ("shard-01",)})


@settings(max_examples=60, deadline=None)
@given(data=st.data(), ids=st.lists(IDS, min_size=1, max_size=8, unique=True))
def test_each_event_lands_in_exactly_one_output_the_right_one_unchanged(data: st.DataObject, ids: list[str]) -> None:
    stranger = st.one_of(
        st.none(), TEXT, st.sampled_from(ids).map(str.swapcase), st.sampled_from(ids).map(lambda i: i + " ")
    )
    company = st.one_of(st.sampled_from(ids), stranger)
    events = data.draw(st.lists(st.tuples(company, TEXT | st.none(), TEXT, st.booleans()), max_size=20))
    bodies = [
        json.dumps(
            {"event_id": str(number), "info_companyid": owner, "payload": payload, "key": key}, ensure_ascii=ascii_only
        ).encode()
        for number, (owner, payload, key, ascii_only) in enumerate(events)
    ]
    engine = Engine(compile_query(router.query(_config(ids), "shard-01"), router.INPUT))
    routed = engine.run(bodies, [number % 4 for number in range(len(bodies))])
    landed = {
        int(row["event_id"]): (alias, row["info_companyid"], row["payload"], row["key"], row["partition_id"])
        for alias, table in routed.outputs.items()
        for row in table.to_pylist()
    }
    assert routed.malformed == 0
    assert sum(table.num_rows for table in routed.outputs.values()) == len(events)
    assert landed == {
        number: (f"company-c{ids.index(owner)}" if owner in ids else "unrouted", owner, payload, key, number % 4)
        for number, (owner, payload, key, _) in enumerate(events)
    }


PIECES = [
    "{",
    "}",
    "[",
    "]",
    '"',
    ":",
    ",",
    "a",
    "1",
    "\\",
    " ",
    "\n",
    '{"a":1}',
    '"\\ud800"',
    '"a":',
    "1e999",
    "NaN",
    "\ufeff",
]


@given(body=st.binary(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=20).map(lambda p: "".join(p).encode()))
@settings(max_examples=150, deadline=None)
def test_any_message_is_either_routed_or_counted_and_never_stops_the_job(body: bytes) -> None:
    good = b'{"info_companyid":"a"}'
    routed = ENGINE.run([good, body, good], [0, 1, 2])
    assert {0, 2} <= set(routed.outputs["company-c0"]["partition_id"].to_pylist())
    assert routed.malformed + sum(table.num_rows for table in routed.outputs.values()) >= 3


ENGINE = Engine(compile_query(router.query(_config(["a"]), "shard-01"), router.INPUT))
