"""Making and updating the schema of a target: idempotent, and no change loses a row."""

from collections.abc import Callable

import pytest

from lpm.clients.target_database import TargetDatabase, TargetDatabaseError
from lpm.config import Column, Company, Config
from lpm.render.targets import Dialect
from target_events import COMPANY, PAYLOAD, heartbeat, upsert

Connect = Callable[..., TargetDatabase]
Sql = Callable[..., None]


def with_columns(config: Config, columns: list[Column]) -> Config:
    table = config.table.model_copy(update={"columns": tuple(columns)})
    return config.model_copy(update={"pipeline": config.pipeline.model_copy(update={"table": table})})


def with_type(config: Config, name: str, new_type: str) -> Config:
    return with_columns(
        config,
        [Column(name=name, type=new_type) if column.name == name else column for column in config.table.columns],
    )


def test_the_second_run_changes_nothing(empty: TargetDatabase) -> None:
    changes = empty.apply_schema()
    assert "created table dbo.tdr_streaming" in changes
    assert "created watermark of partition 2" in changes
    empty.insert_inbox([upsert(1), heartbeat(1, 0)])
    assert empty.apply_schema() == []
    assert empty.row_count() == 1
    assert empty.watermarks() == {0: 1, 2: -1}


def test_a_new_column_is_added_and_no_row_is_lost(empty: TargetDatabase, connect: Connect, config: Config) -> None:
    older = connect(config=with_columns(config, [column for column in config.table.columns if column.name != "price"]))
    older.apply_schema()
    older.insert_inbox([upsert(1), upsert(1, {"trade_id": "T-2"})])
    changes = empty.apply_schema()
    assert [change for change in changes if "column" in change] == ["created column dbo.tdr_streaming.price"]
    assert {row["price"] for _, row in empty.rows()} == {None}
    empty.insert_inbox([upsert(2)])
    assert sorted(str(row["price"]) for _, row in empty.rows()) == [PAYLOAD["price"], "None"]


def test_a_column_that_the_contract_no_longer_has_keeps_its_values(
    empty: TargetDatabase, connect: Connect, config: Config
) -> None:
    empty.apply_schema()
    empty.insert_inbox([upsert(1)])
    newer = connect(config=with_columns(config, [column for column in config.table.columns if column.name != "price"]))
    newer.apply_schema()
    newer.insert_inbox([upsert(2, {"comment": "later"})])
    [(_, row)] = empty.rows()
    assert (str(row["price"]), row["comment"]) == (PAYLOAD["price"], "later")


@pytest.mark.parametrize("longer", ["string(5)", "string"])
def test_a_longer_text_column_is_widened(empty: TargetDatabase, connect: Connect, config: Config, longer: str) -> None:
    empty.apply_schema()
    empty.insert_inbox([upsert(1), upsert(2, {"currency": "EUROS"})])
    assert empty.quarantine_counts() == {"too_long:currency": 1}
    wider = connect(config=with_type(config, "currency", longer))
    changes = [change for change in wider.apply_schema() if "column" in change]
    assert len(changes) == 1
    assert changes[0].startswith("changed column dbo.tdr_streaming.currency from ")
    assert wider.apply_schema() == []
    wider.insert_inbox([upsert(3, {"currency": "EUROS"})])
    assert [row["currency"] for _, row in wider.rows()] == ["EUROS"]


@pytest.mark.parametrize(
    ("column", "other"),
    [
        ("quantity", "string"),
        ("leg_no", "bigint"),
        ("price", "decimal(38,10)"),
        ("book", "string(99)"),
        ("comment", "string(4000)"),
        ("comment", "binary"),
        ("document", "string"),
        ("trade_date", "timestamp"),
    ],
)
def test_a_changed_type_is_refused_and_nothing_changes(
    empty: TargetDatabase, connect: Connect, config: Config, column: str, other: str
) -> None:
    empty.apply_schema()
    empty.insert_inbox([upsert(1)])
    changed = with_type(config, column, other)
    extra = with_columns(changed, [*changed.table.columns, Column(name="extra", type="int")])
    with pytest.raises(TargetDatabaseError) as refusal:
        connect(config=extra).apply_schema()
    message = str(refusal.value)
    for part in (f"column {column} is ", "the contract says ", "pipeline.yml", repr(COMPANY), "nothing was changed"):
        assert part in message
    assert empty.apply_schema() == []
    assert empty.row_count() == 1


def test_a_partition_that_the_company_no_longer_has_is_removed(
    empty: TargetDatabase, connect: Connect, company: Company
) -> None:
    empty.apply_schema()
    empty.insert_inbox([heartbeat(5, 0), heartbeat(7, 2)])
    moved = connect(company=company.model_copy(update={"partitions": (2, 3)}))
    assert [change for change in moved.apply_schema() if "watermark" in change] == [
        "removed watermark of partition 0",
        "created watermark of partition 3",
    ]
    assert moved.watermarks() == {2: 7, 3: -1}
    moved.insert_inbox([heartbeat(8, 0), heartbeat(8, 3)])
    assert moved.watermarks() == {2: 7, 3: 8}
    assert moved.quarantine_counts() == {"bad_heartbeat": 1}


@pytest.mark.parametrize(
    "name", ["'; DROP TABLE lpm.watermark; --", "$lpm$", "\\", "a\\\nb", "é\U0001f600", "$(partitions)", '"[]"', " x "]
)
def test_a_company_s_name_is_text_whatever_it_contains(
    empty: TargetDatabase, connect: Connect, company: Company, name: str
) -> None:
    database = connect(company=company.model_copy(update={"id": name}))
    database.apply_schema()
    database.insert_inbox([upsert(1, {"info_companyid": name}, info_companyid=name), upsert(2)])
    assert database.row_count() == 1
    assert database.quarantine_counts() == {"wrong_company": 1}


def test_another_table_with_difficult_column_names_is_a_matter_of_configuration(
    empty: TargetDatabase, connect: Connect, config: Config, dialect: Dialect, sql: Sql
) -> None:
    names = [
        "key",
        "version",
        "kind",
        "reason",
        "select",
        "order",
        "Company",
        "company",
        "i",
        "e",
        "document",
        "digest",
    ]
    columns = [Column(name=name, type="string(64)") for name in names if name != "Company"]
    table = config.table.model_copy(
        update={
            "name": "another",
            "company_column": "company",
            "key": ("key",),
            "columns": (*columns, Column(name="n", type="decimal(5,5)"), Column(name="rank", type="boolean")),
        }
    )
    other = config.model_copy(update={"pipeline": config.pipeline.model_copy(update={"table": table})})
    database = connect(config=other)
    database.apply_schema()
    assert database.apply_schema() == []
    row = {name: name for name in names} | {"company": COMPANY, "n": "0.5", "rank": "false"}
    database.insert_inbox([upsert(1, row), upsert(1, row | {"leg_no": "2", "n": "1.5"})])
    [(_, found)] = database.rows()
    assert {name: str(value) for name, value in found.items()} == {
        **{name: name for name in names if name != "Company"},
        "company": COMPANY,
        "n": "0.50000",
        "rank": "False",
    }
    assert database.quarantine_counts() == {"unconvertible:n": 1}
    if dialect == "mssql":  # the database is kept there
        sql("DROP TABLE lpm.another_inbox, dbo.another")
