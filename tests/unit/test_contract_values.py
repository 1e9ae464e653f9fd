"""Payload text becomes exactly the value that a target column holds."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from lpm.config import ColumnType, load_config
from lpm.contract.envelope import literal, quoted, row_expressions
from lpm.contract.sequence import Rank, Sequence
from lpm.contract.values import normalised, typed_row, typed_value


@pytest.mark.parametrize(
    ("type_text", "text", "value"),
    [
        ("string", "  Zoë 'x' \" 🚀 ", "  Zoë 'x' \" 🚀 "),
        ("string(5)", "", ""),
        ("int", "-2147483648", -2147483648),
        ("bigint", "9223372036854775807", 9223372036854775807),
        (
            "decimal(38,18)",
            "99999999999999999999.999999999999999999",
            Decimal("99999999999999999999.999999999999999999"),
        ),
        ("decimal(18,2)", "-0.10", Decimal("-0.10")),
        ("double", "1.7976931348623157E308", 1.7976931348623157e308),
        ("boolean", "false", False),
        ("date", "1900-01-01", date(1900, 1, 1)),
        ("date", "9999-12-31", date(9999, 12, 31)),
        ("timestamp", "9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999999)),
        ("binary", "AP8=", b"\x00\xff"),
        ("decimal(18,2)", None, None),
    ],
)
def test_text_becomes_the_typed_value(type_text: str, text: str | None, value: object) -> None:
    found = typed_value(ColumnType.parse(type_text), text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("type_text", "text", "told"),
    [("int", "1.5", "1.5"), ("boolean", "yes", "'yes'"), ("binary", "***", "base64"), ("date", "x", "'x'")],
)
def test_text_of_another_type_is_refused(type_text: str, text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        typed_value(ColumnType.parse(type_text), text)


def test_an_absent_column_is_null() -> None:
    table = load_config().table
    row = typed_row(table, {"trade_id": "T-1"})
    assert list(row) == [column.name for column in table.columns]
    assert row["comment"] is None


def test_driver_values_are_compared_in_one_form() -> None:
    aware = datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert normalised(aware) == aware.astimezone(UTC).replace(tzinfo=None)
    assert normalised(memoryview(b"ab")) == b"ab"


def test_a_sequence_orders_by_version_and_then_the_upsert_wins() -> None:
    assert Sequence(7, Rank.UPSERT) > Sequence(7, Rank.DELETE) > Sequence(6, Rank.UPSERT)


def test_names_and_texts_cannot_break_out_of_spark_sql() -> None:
    assert quoted("a`b") == "`a``b`"
    assert literal('say "hi" \\ now') == '"say \\"hi\\" \\\\ now"'


def test_only_key_and_company_decide_whether_a_row_can_be_an_event() -> None:
    reason = row_expressions(load_config().table).dead_letter_reason
    assert literal("no_company") in reason
    assert literal("no_key") in reason
