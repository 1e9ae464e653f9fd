"""What the rows of random histories hold: typed values, chosen to be hard to carry from Spark to a target."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple


class Content(NamedTuple):
    """Values by column as Spark takes them; absent columns are NULL. No two contents have the same quantity."""

    name: str
    values: dict[str, Any]


CONTENTS = (
    Content("plain", {"quantity": 1, "comment": "first"}),
    Content("plain two", {"quantity": 2, "comment": "second"}),
    Content("nothing at all", {}),
    Content(
        "everything",
        {
            "book": "Rates", "counterparty": "Société Générale", "quantity": -42, "price": Decimal("101.25"),
            "notional": Decimal("1000000.00"), "currency": "EUR", "ratio": 0.25, "is_active": True,
            "trade_date": date(2026, 11, 24), "booked_at": datetime(2026, 11, 24, 8, 50, 58, 123456, tzinfo=UTC),
            "document": b"ABC", "comment": "all columns",
        },
    ),
    Content(
        "highest",
        {
            "quantity": 2**63 - 1, "price": Decimal("99999999999999999999.999999999999999999"),
            "notional": Decimal("9999999999999999.99"), "ratio": 1.7976931348623157e308,
            "trade_date": date(9999, 12, 31), "booked_at": datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            "book": "\U0001f600" * 50, "counterparty": "ß" * 200,
        },
    ),
    Content(
        "lowest",
        {
            "quantity": -(2**63), "price": Decimal("-99999999999999999999.999999999999999999"),
            "notional": Decimal("-9999999999999999.99"), "ratio": -1.7976931348623157e308, "is_active": False,
            "trade_date": date(1, 1, 1), "booked_at": datetime(1, 1, 1, tzinfo=UTC), "document": b"", "comment": "",
        },
    ),
    Content(
        "tiny",
        {
            "quantity": 0, "price": Decimal("0.000000000000000001"), "notional": Decimal("-0.01"), "ratio": 5e-324,
            "booked_at": datetime(1582, 10, 10, 0, 0, 0, 1, tzinfo=UTC), "trade_date": date(1582, 10, 10),
        },
    ),
    Content("not a number", {"quantity": 3, "ratio": float("nan"), "comment": "NaN"}),
    Content("infinite", {"quantity": 4, "ratio": float("-inf"), "comment": "null"}),
    Content(
        "quotes and blanks",
        {"quantity": 5, "book": " a ", "comment": "O'Neill \"q\" \\ \\\\ \\u0041 / \t\r\n\x01 $1 %s {0} [x]"},
    ),
    Content(
        "letters of the world",
        {"quantity": 6, "book": "\u2028", "counterparty": "\u202e\u0663é", "comment": "e\u0301 \U0001f600\u200d\uffff"},
    ),
    Content("long", {"quantity": 7, "comment": "é\U0001f600" * 2_500, "document": bytes(range(256)) * 20}),
    Content("SQL", {"quantity": 8, "book": "'; DROP TABLE dbo.tdr_streaming; --", "comment": "$lpm$ GO"}),
)  # fmt: skip
