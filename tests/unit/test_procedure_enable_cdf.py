"""What enable_cdf finds out, refuses and sets, judged from what Databricks says about the table."""

from dataclasses import replace

import pytest

from lpm.clients.databricks import StatementFailed
from lpm.config import ColumnType, load_config
from lpm.procedures import enable_cdf
from lpm.procedures.enable_cdf import FEED, ROW_TRACKING, SourceFacts
from lpm.procedures.outcome import ProcedureError

CONFIG = load_config()
LOCAL = CONFIG.environment("local")
TABLE = "spark_catalog.gold.tdr_streaming"
FILES, LOG = enable_cdf.RETENTION
READY = SourceFacts(
    columns={
        column.name: str(column.type) if column.type.kind != "string" else "string" for column in CONFIG.table.columns
    },
    table_type="MANAGED",
    guards=(),
    format="delta",
    table_id="1",
    writer_version=2,
    properties={},
)


class RefusingDatabricks:
    """Describes a ready table, and refuses statements that begin with a given word."""

    def __init__(self, word: str, error: str) -> None:
        self.word, self.error = word, error

    def sql(self, statement):
        if statement.startswith(self.word):
            raise StatementFailed(self.error)
        if statement.startswith("DESCRIBE TABLE"):
            return [{"col_name": name, "data_type": kind} for name, kind in READY.columns.items()]
        if statement.startswith("DESCRIBE DETAIL"):
            return [{"format": "delta", "id": "1", "minWriterVersion": "2"}]
        return []


def obstacles(**changes) -> list[str]:
    return list(enable_cdf.find_obstacles(CONFIG.table, replace(READY, **changes)))


def test_a_ready_table_has_no_obstacles():
    assert obstacles() == []


@pytest.mark.parametrize(
    ("changes", "names", "says"),
    [
        ({"table_type": "VIEW"}, "VIEW", "only a Delta table"),
        ({"table_type": "MATERIALIZED_VIEW"}, "MATERIALIZED_VIEW", "only a Delta table"),
        ({"table_type": "STREAMING_TABLE"}, "STREAMING_TABLE", "only a Delta table"),
        ({"format": "iceberg"}, "'iceberg'", "convert it"),
        ({"columns": READY.columns | {"_change_type": "string"}}, "'_change_type'", "rename it"),
        ({"columns": {k: v for k, v in READY.columns.items() if k != "book"}}, "'book'", "add it to the table"),
        ({"columns": READY.columns | {"leg_no": "bigint"}}, "'leg_no' is bigint", "change the type in pipeline.yml"),
        ({"columns": READY.columns | {"price": "decimal(38,20)"}}, "'price' is decimal(38,20)", "without loss"),
        ({"columns": READY.columns | {"comment": "int"}}, "'comment' is int", "without loss"),
        ({"guards": ("row filter",)}, "row filter", "exempt the stream job's principal"),
        ({"guards": ("column masks",)}, "column masks", "masked values"),
    ],
)
def test_an_obstacle_is_named_with_its_next_step(changes, names, says):
    [obstacle] = obstacles(**changes)
    assert names in obstacle
    assert says in obstacle


def test_all_obstacles_are_listed_at_once():
    columns = {k: v for k, v in READY.columns.items() if k != "book"} | {"_commit_version": "bigint", "ratio": "string"}
    assert len(obstacles(columns=columns, guards=("row filter",))) == 4


@pytest.mark.parametrize(
    ("wanted", "found", "fits"),
    [
        ("string(3)", "varchar(100)", True),
        ("string", "array<string>", False),
        ("int", "smallint", True),
        ("int", "bigint", False),
        ("bigint", "int", True),
        ("bigint", "decimal(5,0)", False),
        ("decimal(38,18)", "decimal(20,0)", True),
        ("decimal(38,18)", "decimal(21,0)", False),
        ("decimal(38,18)", "decimal(38,18)", True),
        ("decimal(38,18)", "bigint", True),
        ("decimal(18,2)", "bigint", False),
        ("decimal(18,2)", "double", False),
        ("double", "float", True),
        ("double", "decimal(10,2)", False),
        ("timestamp", "timestamp_ntz", True),
        ("timestamp", "date", False),
        ("date", "date", True),
        ("boolean", "int", False),
        ("binary", "binary", True),
    ],
)
def test_a_contract_type_carries_only_what_it_holds_without_loss(wanted, found, fits):
    assert enable_cdf.carries(ColumnType.parse(wanted), found) is fits


@pytest.mark.parametrize(
    ("properties", "set_"),
    [
        ({}, {FEED, FILES}),  # the log is kept 30 days by default
        ({FEED: "true"}, {FILES}),
        ({FEED: "false", FILES: "interval 30 days"}, {FEED}),
        ({FEED: "TRUE", FILES: "interval 5 weeks"}, set()),
        ({FEED: "true", FILES: "30 days", LOG: "interval 1 day"}, {LOG}),
    ],
)
def test_only_missing_properties_are_set_and_no_retention_is_shortened(properties, set_):
    assert set(enable_cdf.missing_properties(replace(READY, properties=properties), 30)) == set_


def test_an_interval_counts_every_unit():
    assert enable_cdf.interval_days("interval 2 weeks 12 hours") == 14.5
    with pytest.raises(ProcedureError, match="'soon' is no interval; expected for example 'interval 30 days'"):
        enable_cdf.interval_days("soon")


def test_remarks_tell_what_will_stop_the_stream_later():
    properties = {"delta.columnMapping.mode": "name"}
    facts = replace(READY, properties=properties, columns=READY.columns | {"currency": "varchar(10)"})
    remarks = "\n".join(enable_cdf.find_remarks(CONFIG.table, facts))
    assert "change feed: off" in remarks
    assert "writers older than Delta 1.2.1" in remarks
    assert "dropping or renaming a column will stop the stream" in remarks
    assert "column 'currency' may hold 10 characters; longer than string(3) goes to quarantine" in remarks


def test_the_kind_of_feed_is_told_apart():
    assert enable_cdf.feed_kind(READY) is None
    assert enable_cdf.feed_kind(replace(READY, properties={ROW_TRACKING: "true"})) == "automatic"
    assert enable_cdf.feed_kind(replace(READY, properties={FEED: "true", ROW_TRACKING: "true"})) == "legacy"


def commit(version: int, properties: str = "") -> dict[str, str | None]:
    return {"version": str(version), "operationParameters": properties or None}


def test_the_enabling_version_is_the_last_one_that_switched_the_feed_on():
    on = r'{"properties":"{\"delta.enableChangeDataFeed\":\"true\"}"}'
    off = r'{"properties":"[\"delta.enableChangeDataFeed\"]","ifExists":true}'
    history = [commit(9), commit(7, on), commit(5, off), commit(3, on), commit(0)]
    assert enable_cdf.enabling_version(history, "legacy", known=None) == 7
    assert enable_cdf.enabling_version([commit(12), commit(11)], "legacy", known=7) == 7
    assert enable_cdf.enabling_version([commit(12), commit(11)], "legacy", known=None) == 11


def test_a_proof_holds_while_columns_properties_and_protocol_stay():
    assert READY.shape == replace(READY, table_id="2").shape
    assert READY.shape != replace(READY, properties={FEED: "true"}).shape
    assert READY.shape != replace(READY, columns=READY.columns | {"new": "int"}).shape
    assert READY.shape != replace(READY, writer_version=7).shape


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("PERMISSION_DENIED: User does not have MODIFY", f"GRANT SELECT, MODIFY ON TABLE {TABLE}"),
        ("DELTA_TABLE_ALREADY_CONTAINS_CDC_COLUMNS", f"Databricks refuses {TABLE}"),
    ],
)
def test_a_refused_alter_table_names_the_next_step(error, says):
    with pytest.raises(ProcedureError, match="Next step: ") as refusal:
        enable_cdf.enable(CONFIG, LOCAL, RefusingDatabricks("ALTER", error))
    assert error in str(refusal.value)
    assert says in str(refusal.value)


def test_a_concurrent_commit_is_worth_another_try():
    with pytest.raises(StatementFailed):
        enable_cdf.enable(CONFIG, LOCAL, RefusingDatabricks("ALTER", "[DELTA_CONCURRENT_WRITE]"))


def test_a_missing_table_names_the_configuration_that_leads_there():
    databricks = RefusingDatabricks("DESCRIBE TABLE", "[TABLE_OR_VIEW_NOT_FOUND] The table or view cannot be found")
    with pytest.raises(ProcedureError, match=f"{TABLE} does not exist.*\n.*databricks.source_schema"):
        enable_cdf.check_prerequisites(CONFIG, LOCAL, databricks)
