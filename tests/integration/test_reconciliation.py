"""Reconciliation on real Delta tables and real databases: every kind of fault is found, named, and nothing else is."""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from reconciliation_world import World
from stand_ins import serve

from lpm.clients.databricks import DatabricksClient
from lpm.clients.event_hubs import EventHub
from lpm.clients.evidence import EvidenceStore
from lpm.clients.target_database import TargetDatabaseError
from lpm.clients.target_snapshot import BUCKETS_BY_INDEX, snapshot
from lpm.config import load_config
from lpm.config.alerts import load_alerts
from lpm.contract.envelope import BUCKETS
from lpm.local import processes
from lpm.local.databricks.statements import INLINE_BYTES
from lpm.local.postgres import Server
from lpm.procedures.alerts.evaluation import Rules
from lpm.procedures.alerts.telling import Links
from lpm.procedures.reconciliation import ledger
from lpm.procedures.reconciliation.comparison import DEAD_LETTER, Kind
from lpm.procedures.reconciliation.ledger import Ledger, Slice
from lpm.procedures.reconciliation.repair import Repairer
from lpm.procedures.reconciliation.result import CompanyResult, Verdict, VerifiedThrough
from lpm.procedures.reconciliation.round import Round, Wanted
from lpm.procedures.reconciliation.settling import first_still_differing
from lpm.procedures.reconciliation.source import in_parts
from lpm.procedures.reconciliation.telling import Found, finish_round
from lpm.render.names import EVIDENCE_VARIABLE

EVERYTHING = Slice.everything()
NO_HUB = EventHub(load_config().environment("local"), "never connected to")


@pytest.fixture(scope="module")
def databricks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabricksClient]:
    token = secrets.token_hex(16)
    folder = tmp_path_factory.mktemp("reconciliation")
    address, process = serve("lpm.local.databricks.serve", folder / "databricks", [], {"LPM_DATABRICKS_TOKEN": token})
    local = load_config().environment("local")
    with pytest.MonkeyPatch.context() as patch:
        connection = {"conn_type": "databricks", "schema": "http", "host": "127.0.0.1", "password": token}
        connection["port"] = httpx.URL(address).port
        patch.setenv(f"AIRFLOW_CONN_{local.databricks.connection.upper()}", json.dumps(connection))
        yield DatabricksClient.of(local)
    processes.stop(process)


@pytest.fixture(scope="module")
def shared(databricks: DatabricksClient, postgres: Server) -> Iterator[World]:
    """Source and databases after inserts, updates, moves and deletes, all delivered."""
    world = World(databricks, postgres)
    world.sql(world.merge_statement(0, 60, generation=1))
    world.deliver(0, world.version())
    yield world
    world.close()


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    """The same for each test: what a test did to a database is undone by sending it everything anew."""
    yield shared
    shared.restore()


@pytest.fixture
def store(world: World, postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvidenceStore:
    """A store of its own, and the databases reached by the connection of the environment."""
    address = urlsplit(postgres.url())
    connection = {"conn_type": "generic", "host": address.hostname, "port": address.port, "login": address.username}
    name = world.environment.sql.connection.upper()
    monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps({**connection, "password": postgres.password}))
    monkeypatch.setenv(EVIDENCE_VARIABLE, str(tmp_path))
    return EvidenceStore(world.environment)


def bring_forward(world: World, check: Slice | None = EVERYTHING, **wanted: bool) -> Ledger:
    return ledger.bring_forward(world.source, world.databricks, check, **wanted)


def test_equal_sides_pass_bucket_by_bucket_and_value_by_value(world: World) -> None:
    moved = bring_forward(world)
    assert moved.through == world.version()
    assert not moved.faults
    for company in world.companies:
        found = world.compare(company, moved.through, deep=EVERYTHING)
        assert (found.result.verdict, found.result.cut, found.differences) == (Verdict.PASS, moved.through, ())
        assert found.result.deep_rows == world.databases[company.id].row_count() > 0


def test_every_kind_of_fault_is_found_and_named_at_once(world: World) -> None:
    through = bring_forward(world).through
    company, other = world.companies[0], world.companies[3]
    missing, edited, rehashed, extra = (world.a_key(company, number) for number in range(4))
    misrouted = world.a_key(other)
    target = "{target}"
    world.tamper(company, f"DELETE FROM {target} WHERE lpm_key_hash = '\\x{missing}'")
    world.tamper(company, f"UPDATE {target} SET book = 'by hand' WHERE lpm_key_hash = '\\x{edited}'")
    world.tamper(company, f"UPDATE {target} SET lpm_row_hash = lpm_key_hash WHERE lpm_key_hash = '\\x{rehashed}'")
    world.copy_row(company, extra, company, "ab" * 32)
    world.copy_row(other, misrouted, company, misrouted)
    found = world.compare(company, through, deep=EVERYTHING)
    assert {each.key_hash: each.kind for each in found.differences} == {
        missing: Kind.MISSING,
        edited: Kind.CORRUPT,
        rehashed: Kind.CORRUPT,
        "ab" * 32: Kind.EXTRA,
        misrouted: Kind.MISROUTED,
    }
    assert next(each.columns for each in found.differences if each.key_hash == edited) == ("book",)
    assert found.result.differences == {"missing": 1, "corrupt": 2, "extra": 1, "misrouted": 1}
    for untouched in world.companies[1:]:
        assert world.compare(untouched, through, deep=EVERYTHING).result.verdict is Verdict.PASS
    rows = found.rows  # what both sides had, for whoever has to explain it
    assert rows[edited].source is not None
    assert rows[edited].target == {**rows[edited].source, "book": "by hand", **in_other_words(rows[edited].target)}
    assert (rows[missing].target, rows["ab" * 32].source, rows[misrouted].source) == (None, None, None)
    assert rows[misrouted].target is not None
    assert rows[misrouted].target["info_companyid"] == other.id


@pytest.mark.parametrize("width", [1, 8, BUCKETS])
def test_sums_of_several_buckets_together_find_the_same(world: World, width: int) -> None:
    through = bring_forward(world).through
    company = world.companies[0]
    key = world.a_key(company)
    elsewhere = f"{int(key[:4], 16) ^ 1:04x}{key[4:]}"  # the same row in the neighbouring bucket
    world.copy_row(company, key, company, elsewhere)
    world.tamper(company, f"DELETE FROM {{target}} WHERE lpm_key_hash = '\\x{key}'")
    found = world.compare(company, through, width=width)
    assert {each.key_hash: each.kind for each in found.differences} == {key: Kind.MISSING, elsewhere: Kind.EXTRA}
    world.sql(world.merge_statement(0, 60, generation=3))
    world.deliver(through + 1, world.version())
    for other in world.companies[1:]:
        assert world.compare(other, through, width=width).result.verdict is Verdict.PASS, "what is newer is in flight"


def test_rows_too_large_for_one_result_are_compared_and_kept_as_evidence_all_the_same(world: World) -> None:
    company = world.companies[0]
    rows = world.databases[company.id].row_count()
    longest = INLINE_BYTES // rows + 1  # all of them are more than one result; each is a dead letter
    of_company = f"WHERE info_companyid = '{company.id}'"
    world.sql(f"UPDATE {world.table} SET comment = repeat('x', {longest}) {of_company}")
    world.heartbeat(world.version())
    found = world.compare(company, bring_forward(world).through, width=BUCKETS)
    assert len(found.differences) == rows
    assert {each.note for each in found.differences} == {DEAD_LETTER}
    assert {len((both.source or {})["comment"] or "") for both in found.rows.values()} == {longest}
    world.sql(f"UPDATE {world.table} SET comment = 'short' {of_company}")


def in_other_words(row: Mapping[str, str | None] | None) -> dict[str, str | None]:
    """The columns that evidence spells differently for source and target, as the target has them."""
    spelled = ("price", "notional", "ratio", "is_active", "booked_at")
    return {name: value for name, value in (row or {}).items() if name in spelled}


def test_an_event_lost_on_the_way_makes_the_row_stale(world: World) -> None:
    before = world.version()
    company = world.companies[1]
    key = world.a_key(company)
    world.update_by_key(company, key, "currency", "LST")
    world.heartbeat(world.version())  # everything is said to have arrived, but the event was lost
    through = bring_forward(world).through
    found = world.compare(company, through, since=before)
    assert [(each.key_hash, each.kind) for each in found.differences] == [(key, Kind.STALE)]


def test_what_the_target_has_newer_than_the_cut_is_in_flight_and_no_difference(world: World) -> None:
    cut = bring_forward(world).through
    world.sql(world.merge_statement(0, 100, generation=2))
    world.insert(1_000, 30)
    world.deliver(cut + 1, world.version(), heartbeat=False)
    results = [world.compare(company, cut, deep=EVERYTHING).result for company in world.companies]
    assert {result.verdict for result in results} == {Verdict.PASS}
    assert sum(result.in_flight for result in results) > 50


def test_a_company_behind_the_round_is_compared_at_its_own_watermark(world: World) -> None:
    behind, company = world.version(), world.companies[2]
    world.sql(world.merge_statement(20, 60, generation=3))
    for each in world.companies:
        if each is not company:
            world.heartbeat(world.version(), [each])
    through = bring_forward(world).through
    result = world.compare(company, through).result
    assert (result.verdict, result.cut, result.through) == (Verdict.PASS, behind, through)


def test_rows_that_can_reach_no_target_are_not_missing(world: World) -> None:
    company = world.companies[0]
    start = world.version()
    world.sql(f"INSERT INTO {world.table} (trade_id, leg_no) VALUES ('no company', 1)")
    world.sql(f"INSERT INTO {world.table} (leg_no, info_companyid) VALUES (1, :c)", {"c": company.id})
    world.sql(
        f"INSERT INTO {world.table} (trade_id, leg_no, info_companyid, comment) "
        "VALUES ('large', 1, :c, repeat('x', 1000000))",
        {"c": company.id},
    )
    world.sql(f"INSERT INTO {world.table} (trade_id, leg_no, info_companyid) VALUES ('stranger', 1, 'C-9999')")
    world.heartbeat(world.version())
    moved = bring_forward(world)
    assert not moved.faults
    assert moved.unknown_rows({each.id for each in world.companies}) == {"C-9999": 1}
    assert world.compare(company, moved.through, since=start).result.verdict is Verdict.PASS
    assert world.compare(company, moved.through, deep=EVERYTHING).result.verdict is Verdict.PASS
    world.sql(f"DELETE FROM {world.table} WHERE trade_id = 'stranger'")  # the tests after this one find no stranger


def test_a_row_that_the_target_refused_is_missing_and_says_why(world: World) -> None:
    company = world.companies[2]
    start = world.version()
    world.sql(
        f"INSERT INTO {world.table} (trade_id, leg_no, info_companyid, book) VALUES ('long', 1, :c, repeat('b', 101))",
        {"c": company.id},
    )
    world.deliver(start + 1, world.version())
    found = world.compare(company, bring_forward(world).through)
    assert [(each.kind, each.note) for each in found.differences] == [(Kind.MISSING, "too_long:book")]
    world.sql(f"DELETE FROM {world.table} WHERE trade_id = 'long'")  # the tests after this one find equal sides


def test_a_row_that_became_a_dead_letter_is_stale_with_its_reason_and_not_deleted(world: World) -> None:
    company = world.companies[3]
    key = world.a_key(company)
    world.update_by_key(company, key, "comment", "x" * 1_000_000)
    world.heartbeat(world.version())
    found = world.compare(company, bring_forward(world).through, deep=EVERYTHING)
    assert [(each.key_hash, each.kind, each.note) for each in found.differences] == [(key, Kind.STALE, DEAD_LETTER)]
    assert Repairer(world.source, world.databases[company.id], NO_HUB, dry_run=True).keys([key]).unsendable == [key]
    world.update_by_key(company, key, "comment", "short")


def test_a_dry_run_says_what_a_repair_of_keys_and_of_everything_would_send(world: World) -> None:
    company = world.companies[1]
    rows = world.databases[company.id].row_count()
    world.copy_row(company, world.a_key(company), company, "cd" * 32)
    repairer = Repairer(world.source, world.databases[company.id], NO_HUB, dry_run=True)
    keys = repairer.keys([world.a_key(company, 1), "cd" * 32])
    assert (keys.upserts, keys.deletes, keys.version) == (1, 1, world.version())
    everything = repairer.buckets(EVERYTHING)
    assert (everything.upserts, everything.deletes, everything.unsendable) == (rows, 1, [])


def test_what_only_the_target_has_is_found_range_by_range_without_the_rows_of_the_source(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    company, version = world.companies[1], world.version()
    rows = world.databases[company.id].row_count()
    extras = ["12" * 32, "cd" * 32]
    for extra in extras:
        world.copy_row(company, world.a_key(company), company, extra)
    world.sql(world.merge_statement(0, 200, generation=5))  # rows that came and went since: not of that version
    world.deliver(version + 1, world.version())
    repairer = Repairer(world.source, world.databases[company.id], NO_HUB, dry_run=True)
    for at_once in (100_000, 3):
        monkeypatch.setattr("lpm.procedures.reconciliation.repair.ROWS_AT_ONCE", at_once)
        assert repairer.extras(EVERYTHING, world.version()).deletes == len(extras)
    assert repairer.extras(Slice(0x1300, 65_535), world.version()).deletes == 1
    assert world.source.count_rows(company.id, version, 0, 65_535) == rows


def test_after_a_large_repair_the_first_key_that_is_not_right_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    company, version = world.companies[1], world.version()
    database = world.databases[company.id]
    dead = world.a_key(company)
    world.update_by_key(company, dead, "comment", "x" * 1_000_000)
    world.heartbeat(world.version())
    assert first_still_differing(world.source, database, version, EVERYTHING, 0) is None, "no event can mend that"
    missing = world.a_key(company, 1)
    world.tamper(company, f"DELETE FROM {{target}} WHERE lpm_key_hash = '\\x{missing}'")
    monkeypatch.setattr("lpm.procedures.reconciliation.settling.SETTLE_SECONDS", 0.0)
    found = first_still_differing(world.source, database, version, EVERYTHING, 0)
    assert found is not None
    assert (found.key_hash, found.kind) == (missing, Kind.MISSING)
    bucket = int(missing[:4], 16)
    assert first_still_differing(world.source, database, version, Slice(bucket + 1, 65_535), 0) is None
    world.update_by_key(company, dead, "comment", "short")


def test_only_changed_buckets_are_compared_when_asked_and_all_of_them_when_not(world: World) -> None:
    company = world.companies[0]
    since = bring_forward(world).through
    untouched = world.a_key(company, 1)
    world.tamper(company, f"DELETE FROM {{target}} WHERE lpm_key_hash = '\\x{untouched}'")
    world.update_by_key(company, world.a_key(company, 0), "currency", "NEW")
    world.deliver(since + 1, world.version())
    through = bring_forward(world).through
    touched = world.compare(company, through, since=since)
    assert (touched.result.verdict, touched.result.sums) == (Verdict.PASS, 1)
    everything = world.compare(company, through)
    assert [each.key_hash for each in everything.differences] == [untouched]


def test_a_ledger_that_disagrees_with_its_table_is_told_and_put_right(world: World) -> None:
    through = bring_forward(world).through
    company = world.companies[0]
    line = f"(:c, 5, {through}, 1L, CAST(7 AS DECIMAL(38,0)))"
    world.sql(f"INSERT INTO {world.environment.pipeline_schema}.ledger VALUES {line}", {"c": company.id})
    assert not bring_forward(world, Slice(6, 65_535)).faults
    [fault] = bring_forward(world).faults
    assert (fault.company, fault.bucket, fault.rows) == (company.id, 5, -1)
    assert not bring_forward(world).faults
    assert world.compare(company, through).result.verdict is Verdict.PASS


def test_compacting_the_ledger_keeps_every_sum_from_there_on(world: World) -> None:
    through = bring_forward(world).through
    company = world.companies[0]
    before = world.source.sums(company.id, through)
    world.sql(world.source.queries.compact_ledger(through - 1))
    assert {bucket: total for bucket, total in before.items() if total.rows} == {
        bucket: total for bucket, total in world.source.sums(company.id, through).items() if total.rows
    }
    assert not bring_forward(world).faults


def test_a_ledger_started_anew_says_what_the_one_moved_forward_says(world: World) -> None:
    moved = bring_forward(world)
    sums = [world.source.sums(company.id, moved.through) for company in world.companies]
    assert bring_forward(world, anew=True).advanced_from is None
    for company, before in zip(world.companies, sums, strict=True):
        after = world.source.sums(company.id, moved.through)
        assert after == {bucket: total for bucket, total in before.items() if total.rows}


def test_a_snapshot_stays_one_state_while_the_database_changes(world: World) -> None:
    company = world.companies[0]
    key = world.a_key(company)
    with snapshot(world.databases[company.id]) as state:
        before = state.sums(10**9)
        world.tamper(company, f"DELETE FROM {{target}} WHERE lpm_key_hash = '\\x{key}'")
        assert state.sums(10**9) == before
    with snapshot(world.databases[company.id]) as state:
        assert state.sums(10**9) != before


def test_many_buckets_are_read_by_another_way_that_says_the_same(world: World) -> None:
    cut, even = world.version(), range(0, BUCKETS, 2)
    assert len(even) > BUCKETS_BY_INDEX
    world.sql(world.merge_statement(0, 60, generation=2))
    world.deliver(cut + 1, world.version())
    with snapshot(world.databases[world.companies[0].id]) as state:
        sums, in_flight = state.sums(cut, even), state.in_flight(cut, even)
        parts = list(in_parts(even, BUCKETS_BY_INDEX))
        assert sums == {bucket: total for part in parts for bucket, total in state.sums(cut, part).items()}
        assert in_flight == frozenset().union(*(state.in_flight(cut, part) for part in parts))
        assert 0 < len(sums) < len(state.sums(cut))
        assert 0 < len(in_flight) < len(state.in_flight(cut))


def test_a_database_without_watermark_is_skipped_and_verified_no_further(world: World) -> None:
    company = world.companies[3]
    world.tamper(company, "UPDATE lpm.watermark SET version = -1")
    result = world.compare(company, bring_forward(world).through).result
    assert result.verdict is Verdict.SKIPPED
    before = VerifiedThrough(version=1, at=datetime.now(UTC) - timedelta(hours=1))
    assert before.after(result) == before


def test_once_a_day_a_round_makes_the_ledger_short_and_forgets_old_deletions(
    world: World, store: EvidenceStore
) -> None:
    def reconcile(hour: int) -> list[CompanyResult]:
        wanted = Wanted(f"hour {hour}", datetime(2026, 11, 24, hour, tzinfo=UTC), grace_seconds=0.0)
        this_round = Round(world.config, world.environment, world.databricks, store, wanted)
        moved = this_round.bring_ledger_forward()
        return [this_round.reconcile(company, moved) for company in world.companies]

    ledger_table = f"{world.environment.pipeline_schema}.ledger"
    world.tamper(world.companies[0], "INSERT INTO lpm.tombstone VALUES (sha256('x'), 0, now() - interval '400 days')")
    before = world.databases[world.companies[0].id].tombstone_count()
    assert {result.verdict for result in reconcile(1)} == {Verdict.PASS}
    version = world.version()
    world.insert(2_000, 10)
    world.deliver(version + 1, world.version())
    assert {result.verdict for result in reconcile(2)} == {Verdict.PASS}
    assert world.databases[world.companies[0].id].tombstone_count() == before
    assert len(world.sql(f"SELECT DISTINCT version FROM {ledger_table}")) > 1
    assert {result.verdict for result in reconcile(3)} == {Verdict.PASS}
    assert world.databases[world.companies[0].id].tombstone_count() == before - 1
    assert len(world.sql(f"SELECT DISTINCT version FROM {ledger_table}")) == 1
    assert {result.verdict for result in reconcile(4)} == {Verdict.PASS}


Told = Callable[[int], tuple[str, ...]]


@pytest.fixture
def told(world: World, store: EvidenceStore) -> Told:
    """A round some hours later, as the DAG does it but without waiting and repairing: what people are told."""
    begin = datetime.now(UTC)  # of this test, not of the module: what is proven bears the real time
    reconciliation = {"wait_seconds": 0.0, "grace_seconds": 0.0}
    pipeline = world.config.pipeline
    changed = pipeline.model_copy(update={"reconciliation": pipeline.reconciliation.model_copy(update=reconciliation)})
    config = world.config.model_copy(update={"pipeline": changed})
    rules = Rules(config, load_alerts(), world.environment, "reconcile")

    def one_round(hours: int) -> tuple[str, ...]:
        moment = begin + timedelta(hours=hours)
        wanted = Wanted(f"round at {moment:%H:%M}", moment, every_bucket=True, repair=False)
        this_round = Round(config, world.environment, world.databricks, store, wanted)
        moved, results = this_round.bring_ledger_forward(), []
        for company in config.companies:
            try:
                results.append(this_round.reconcile(company, moved))
            except TargetDatabaseError as error:
                results.append(this_round.error(company, str(error)))
        found = Found(moved, tuple(company.id for company in config.companies), results, ())
        links = Links(base="http://airflow", run="http://airflow/dags/reconcile__local/runs/one")
        return finish_round(rules, store, found, links, moment).details

    return one_round


def test_a_ledger_that_disagrees_is_told_once_and_over_when_it_is_right(world: World, told: Told) -> None:
    company = world.companies[0].id
    assert told(hours=0) == ()
    ledger_table = f"{world.environment.pipeline_schema}.ledger"
    world.sql(f"UPDATE {ledger_table} SET row_count = row_count + 1 WHERE company = '{company}' AND row_count > 0")
    assert told(hours=1) == (f"fired: ledger-disagrees about company {company}",)
    assert told(hours=2) == (f"resolved: ledger-disagrees about company {company}",)


def test_a_watermark_that_stands_is_told(world: World, told: Told) -> None:
    company = world.companies[1]
    assert told(hours=0) == ()
    version = world.version()
    world.insert(4_000, 5)
    world.tamper(company, "UPDATE lpm.watermark SET advanced_at = advanced_at - interval '1 hour'")
    assert told(hours=1) == (f"fired: watermark-stuck about company {company.id}",)
    world.deliver(version + 1, world.version())
    assert told(hours=2) == (f"resolved: watermark-stuck about company {company.id}",)


def test_a_company_that_was_not_proven_for_too_long_is_told(world: World, told: Told) -> None:
    company = world.companies[2]
    assert told(hours=0) == ()
    world.tamper(company, "UPDATE lpm.watermark SET version = -1")
    assert told(hours=2) == (), "three hours are not over"
    assert f"fired: not-verified about company {company.id}" in told(hours=4)


def test_a_company_that_cannot_be_compared_is_told_when_the_next_round_cannot_either(world: World, told: Told) -> None:
    company = world.companies[3]
    assert told(hours=0) == ()
    world.tamper(company, "ALTER TABLE {target} RENAME TO away")
    try:
        assert told(hours=1) == (), "the next round usually can"
        assert f"fired: reconcile-error about company {company.id}" in told(hours=2)
    finally:
        world.tamper(company, "ALTER TABLE dbo.away RENAME TO tdr_streaming")
    assert f"resolved: reconcile-error about company {company.id}" in told(hours=3)
