"""Test cases of a shard's project: they run in Microsoft's test tool and in the local router alike.

Left out on purpose, because Stream Analytics' answer is not documented: ids that differ only in case, and text such as
``1e3`` as a number.
"""

import hashlib
import json
from dataclasses import dataclass

from lpm.config import Company, Config
from lpm.contract.envelope import EVENT_FIELDS, bucket_of
from lpm.contract.sequence import Op
from lpm.render.names import UNROUTED_OUTPUT, unrouted_shard

Json = str | int | None
Event = dict[str, Json]
MOMENT = "2026-01-02T03:04:05.678901Z"
HOSTILE = 'O\'Neill said "1.10"; --[x] /* é 🙂 */ C:\\new'


@dataclass(frozen=True)
class Case:
    """Events that go in, and for each output that must receive something the rows that come out."""

    folder: str
    title: str
    events: list[Event]
    expected: dict[str, list[Event]]


def cases(config: Config, shard: str) -> list[Case]:
    """The cases of one shard."""
    return [_routes(config, shard), _types(config, shard)]


def _routes(config: Config, shard: str) -> Case:
    """Everything a company sends lands with that company, and what no company owns is unrouted in one shard only."""
    events: list[Event] = []
    expected: dict[str, list[Event]] = {}
    for position, company in enumerate(config.companies_of(shard)):
        mine = [_event(config, company, op, version=position + 1) for op in Op]
        events += mine
        expected[company.output_name] = [_row(event) for event in mine]
    elsewhere = next((company for company in config.companies if company.shard != shard), None)
    if elsewhere:  # known, but not here: goes nowhere
        events.append(_event(config, elsewhere, Op.UPSERT, version=1))
    event = _event(config, config.companies[0], Op.UPSERT, version=1)
    unknown: list[Event] = [
        {**event, "info_companyid": "nobody's company"},
        {**event, "info_companyid": ""},
        {**event, "info_companyid": None},
        {field: value for field, value in event.items() if field != "info_companyid"},
    ]
    events += unknown
    if shard == unrouted_shard(config):
        expected[UNROUTED_OUTPUT] = [_row(event) for event in unknown]
    return Case("routes", "every event reaches the output of its company and no other", events, expected)


def _types(config: Config, shard: str) -> Case:
    """Values of the wrong type become NULL or text, absent fields NULL, unknown fields vanish, text stays as it is."""
    companies = config.companies_of(shard)
    if not companies:
        return Case("types", "nothing to convert", [], {})
    company = companies[0]
    event = _event(config, company, Op.UPSERT, version=9_007_199_254_740_993)  # one more than a float can hold
    bare: Event = {"info_companyid": company.id, "PartitionId": event["PartitionId"]}
    rows = [
        (event, _row(event)),
        ({**event, "version": "not a number"}, {**_row(event), "version": None}),
        ({**event, "version": "42", "key": 7}, {**_row(event), "version": 42, "key": "7"}),
        ({**event, "added_later": "x"}, _row(event)),
        (bare, _row(bare)),
    ]
    return Case(
        "types",
        "odd values never stop an event",
        [given for given, _ in rows],
        {company.output_name: [row for _, row in rows]},
    )


def _event(config: Config, company: Company, op: Op, version: int) -> Event:
    """An event as it is read from the hub: the body's fields and the hub's own."""
    partition = company.partitions[0]
    hub: Event = {"PartitionId": partition, "EventEnqueuedUtcTime": MOMENT, "EventProcessedUtcTime": MOMENT}
    fields: Event = dict.fromkeys(EVENT_FIELDS)
    fields |= {"op": op, "info_companyid": company.id, "version": version, "emitted_at": MOMENT}
    if op is Op.HEARTBEAT:
        return {**fields, "event_id": f"{version}-heartbeat-{company.id}-{partition}", **hub}
    key = json.dumps(dict.fromkeys(config.table.key, HOSTILE), ensure_ascii=False, separators=(",", ":"))
    key_hash = _digest(key)
    rank = 1 if op is Op.UPSERT else 0
    fields |= {
        "event_id": f"{version}-{rank}-{key_hash}",
        "key": key,
        "key_hash": key_hash,
        "bucket": bucket_of(key_hash),
        "rank": rank,
        "committed_at": MOMENT,
        "schema_version": config.table.schema_version,
    }
    if op is Op.UPSERT:
        values = {column.name: HOSTILE if column.type.kind == "string" else None for column in config.table.columns}
        values[config.table.company_column] = company.id
        payload = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
        fields |= {"payload": payload, "row_hash": _digest(payload)}
    return {**fields, **hub}


def _row(event: Event) -> Event:
    return {**{field: event.get(field) for field in EVENT_FIELDS}, "partition_id": event["PartitionId"]}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
