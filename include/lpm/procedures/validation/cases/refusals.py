"""What must not arrive does not, is kept with its reason, and stops nothing behind it."""

import hashlib
import json

from lpm.clients.databricks import StatementFailed
from lpm.clients.target_database import TargetDatabase
from lpm.clients.unrouted import unrouted_events
from lpm.config import Column
from lpm.contract.envelope import bucket_of
from lpm.procedures.validation.canaries import Canaries, CaseFailed, CaseSkipped, Seen
from lpm.render.names import unrouted_shard

NO_VALUE = "no value of its type"
REFUSED_BY_THE_SOURCE = ("EXCEED", "TOO_LONG", "CHECK_CONSTRAINT", "LENGTH")


def poison_row(canaries: Canaries) -> Seen:
    """A text that is too long for the target is quarantined; the good row behind it arrives."""
    column = next((each for each in _free_columns(canaries) if each.type.kind == "string" and each.type.length), None)
    if column is None or column.type.length is None:
        raise CaseSkipped("the contract has no text column of limited length outside the key")
    try:
        canaries.insert(canaries.first, 0, 1, {column.name: f"repeat('x', {column.type.length + 1})"})
    except StatementFailed as error:
        if any(word in str(error).upper() for word in REFUSED_BY_THE_SOURCE):
            raise CaseSkipped(f"the source itself refuses a text too long for column {column.name!r}") from error
        raise
    canaries.insert(canaries.first, 1)
    poisoned, good = canaries.key_hash(0), canaries.key_hash(1)
    return _refused_and_passed(canaries, poisoned, good, f"too_long:{column.name}")


def unconvertible_event(canaries: Canaries) -> Seen:
    """An event with a text where a number or a date belongs is quarantined; what comes after it arrives."""
    column = next((each for each in _free_columns(canaries) if each.type.kind != "string"), None)
    if column is None:
        raise CaseSkipped("every column of the contract outside the key is a text: nothing is unconvertible")
    company = canaries.first
    canaries.insert(company, 0)
    canaries.await_equal()
    good = canaries.key_hash()
    event = canaries.event(company, good, canaries.database(company).states([good])[good].version)
    key = canaries.statements.key(2)  # a row that the source never has
    payload = {**json.loads(str(event["payload"])), column.name: NO_VALUE}
    key_text = json.dumps({"key": key})
    key_hash = hashlib.sha256(key_text.encode()).hexdigest()
    bad = {
        **event,
        "key": key_text,
        "key_hash": key_hash,
        "bucket": bucket_of(key_hash),
        "event_id": f"{event['version']}-{event['rank']}-{key_hash}",
        "payload": json.dumps(payload, ensure_ascii=False),
    }
    canaries.send(company, [bad])
    canaries.update(9)
    return _refused_and_passed(canaries, key_hash, good, f"unconvertible:{column.name}")


def unknown_company(canaries: Canaries) -> Seen:
    """A row of a company that nobody configured is kept, and is in no database."""
    canaries.insert(canaries.plan.rows.unknown_company)
    key_hash, key = canaries.key_hash(), canaries.statements.key(0)

    def kept() -> str:
        found = unrouted_events(canaries.config, canaries.environment, key, canaries.began)
        return "" if found else "no event of this key there"

    canaries.wait_for(f"an event of key {key} in the container of unrouted events", kept)
    shard = unrouted_shard(canaries.config)
    companies = {each.id: each for each in (*canaries.config.companies_of(shard), canaries.first, canaries.second)}
    for company in companies.values():  # reads one key by its hash; nothing is changed
        with TargetDatabase.connect(canaries.config, canaries.environment, company) as database:
            if database.states([key_hash]):
                raise CaseFailed(f"expected: key {key_hash} in no database\nseen: in that of {company.id}")
    line = f"the event is in the container; none of {len(companies)} databases has the key"
    return Seen((line,), {"databases_looked_at": len(companies)})


def _free_columns(canaries: Canaries) -> list[Column]:
    table = canaries.config.table
    return [column for column in table.columns if column.name not in (*table.key, table.company_column)]


def _refused_and_passed(canaries: Canaries, refused: str, good: str, reason: str) -> Seen:
    """Wait until the good row is there in its newest version; then the refused key is in quarantine only."""
    database = canaries.database(canaries.first)
    canaries.await_version(canaries.first)
    expected = {row.key_hash: row.row_hash for row in canaries.rows()}
    states = database.states([refused, good])
    if refused in states or good not in states or states[good].row_hash != expected[good]:
        raise CaseFailed(f"expected: key {good} as the source has it, and not {refused}\nseen: {dict(states)}")
    found = database.refused_keys([refused]).get(refused, "nothing")
    if found != reason:
        raise CaseFailed(f"expected: key {refused} in the quarantine as {reason}\nseen: {found}")
    return Seen((f"in the quarantine as {found}; the row behind it arrived",))
