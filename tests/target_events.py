"""Events as the router inserts them, and values that a target must take or refuse. For the tests of the targets."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

Event = dict[str, Any]

COMPANY = "O'Neill $(partitions) 07"  # a name that quoting has to survive
PARTITIONS = (0, 2)

PAYLOAD: Mapping[str, str | None] = {
    "trade_id": "T-1",
    "leg_no": "1",
    "info_companyid": COMPANY,
    "book": "Rates",
    "counterparty": "Société Générale",
    "quantity": "-42",
    "price": "101.250000000000000000",
    "notional": "1000000.00",
    "currency": "EUR",
    "ratio": "0.25",
    "is_active": "true",
    "trade_date": "2026-11-24",
    "booked_at": "2026-11-24T08:50:58.123456Z",
    "document": "QUJD",
    "comment": None,
}

# (column, text): what a column takes. Some are not how the job writes them, and are taken all the same.
ACCEPTED = [
    *(("leg_no", text) for text in ("0", "-0", "007", "2147483647", "-2147483648")),
    *(("quantity", text) for text in ("9223372036854775807", "-9223372036854775808")),
    *(
        ("price", text)
        for text in ("99999999999999999999.999999999999999999", "-99999999999999999999.999999999999999999")
    ),
    *(
        ("price", text)
        for text in ("0", "0.5", ".5", "5.", "-0.000000000000000001", "0.1234567890123456785", "00012.5")
    ),
    *(("notional", text) for text in ("9999999999999999.99", "-9999999999999999.99", "0.005", "9999999999999999.994")),
    *(("ratio", text) for text in ("0", "-0.0", "1.0E10", "1.0E-7", "1e-7", "1.5e+3", "1.7976931348623157E308", "3")),
    *(("is_active", text) for text in ("true", "false")),
    *(("trade_date", text) for text in ("0001-01-01", "1582-10-10", "1900-01-01", "2024-02-29", "9999-12-31")),
    *(("booked_at", text) for text in ("0001-01-01T00:00:00.000000Z", "1900-01-01T00:00:00.000001Z")),
    *(
        ("booked_at", text)
        for text in ("9999-12-31T23:59:59.999999Z", "2026-11-24T08:00:00Z", "2026-11-24T08:00:00.5Z")
    ),
    *(("document", text) for text in ("", "QQ==", "QUI=", "+/+/", base64.b64encode(bytes(range(256)) * 400).decode())),
    *(
        ("comment", text)
        for text in ("", " ", "a  ", "null", "NULL", "[x", "{x", "{}", 'O\'Neill "q" \\ / \t\r\n \x01')
    ),
    *(("comment", text) for text in ("\\u0000", "emoji \U0001f600\u200d", "$1 $(x) %s {0} ?", "x" * 1_000_000)),
    *(("trade_id", text) for text in ("x" * 64, "\U0001f600" * 32, "a" + " " * 63)),
    *(("book", text) for text in ("ß" * 100, "\u2028", "'; DROP TABLE dbo.tdr_streaming; --")),
    *((column, None) for column in PAYLOAD if column not in ("trade_id", "leg_no", "info_companyid")),
]

REFUSED = [
    *(
        ("leg_no", text)
        for text in ("", "-", "+5", " 5", "5 ", "1,5", "1.0", "1e3", "0x1F", "1_000", "NaN", "\u0663", "5\n")
    ),
    *(("leg_no", text) for text in ("2147483648", "-2147483649", "000000000000000000005", "true")),
    *(("quantity", text) for text in ("9223372036854775808", "-9223372036854775809")),
    *(
        ("price", text)
        for text in ("", ".", "-", "1E-7", "0E-18", "NaN", "Infinity", "1,5", "1.2.3", "--1", "1-", "+1", " 1")
    ),
    *(("price", text) for text in ("100000000000000000000", "0" * 20 + "1", "1" * 200)),
    *(("notional", text) for text in ("10000000000000000", "-10000000000000000.00")),
    *(
        ("ratio", text)
        for text in ("", "NaN", "Infinity", "-Infinity", "1e999", "e5", "1e", "1e5.0", "1.2.3", "+1", "0x10", "1d")
    ),
    *(("is_active", text) for text in ("", "TRUE", "True", "t", "yes", "on", "1", "0", " true", "true ")),
    *(
        ("trade_date", text)
        for text in ("", "2026-02-30", "2023-02-29", "2026-1-1", "20260101", "0000-01-01", "10000-01-01")
    ),
    *(
        ("trade_date", text)
        for text in ("2026-01-01 ", "today", "infinity", "2026-01-01T00:00:00", "-026-01-01", "26-01-01")
    ),
    *(("booked_at", text) for text in ("", "2026-01-01", "2026-01-01 00:00:00.000000Z", "2026-01-01T24:00:00.000000Z")),
    *(
        ("booked_at", text)
        for text in ("2026-01-01T23:59:60.000000Z", "2026-01-01T23:60:00Z", "2026-01-01T00:00:00.000000")
    ),
    *(
        ("booked_at", text)
        for text in ("2026-01-01T23:59:59+02:00", "2026-01-01T00:00:00.000000+00:00", "now", "infinity")
    ),
    *(
        ("booked_at", text)
        for text in ("2026-01-01T00:00:00.0000000Z", "2026-02-30T00:00:00.000000Z", "2026-01-01T00:00:00.Z")
    ),
    *(
        ("booked_at", text)
        for text in ("2026-01-01T00:00:00.000000z", "2026-01-01T00:00:00.00Z000Z", "0000-01-01T00:00:00Z")
    ),
    *(
        ("document", text)
        for text in ("Q", "QQ", "QQ=", "QR==", "QUJ=", "QQ==\n", "Q Q=", "QQ-_", "====", "=QQ=", "QQ==QQ==")
    ),
]


def upsert(version: int, values: Mapping[str, Any] | None = None, /, **changes: Any) -> Event:
    """An upsert of the default row with ``values`` on top; ``changes`` are to fields of the event."""
    row = {**PAYLOAD, **(values or {})}
    text = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
    return _event("upsert", 1, version, row, row_hash=_sha256(text), payload=text) | changes


def delete(version: int, values: Mapping[str, Any] | None = None, /, **changes: Any) -> Event:
    """A delete of the key of that row."""
    return _event("delete", 0, version, {**PAYLOAD, **(values or {})}) | changes


def heartbeat(version: int, partition: int, /, **changes: Any) -> Event:
    """Everything up to ``version`` has been sent to ``partition``."""
    return {
        "event_id": f"{version}-heartbeat-{COMPANY}-{partition}",
        "op": "heartbeat",
        "info_companyid": COMPANY,
        "version": version,
        "emitted_at": "2026-11-24T08:51:00.000000Z",
        "schema_version": 1,
        "partition_id": partition,
    } | changes


def key_hash(payload: Mapping[str, Any] | None = None) -> str:
    """Key hash of a row, in hexadecimal."""
    return _sha256(_key({**PAYLOAD, **(payload or {})}))


def _event(op: str, rank: int, version: int, row: Mapping[str, Any], **more: Any) -> Event:
    key = _key(row)
    return {
        "event_id": f"{version}-{rank}-{_sha256(key)}",
        "op": op,
        "info_companyid": COMPANY,
        "key": key,
        "key_hash": _sha256(key),
        "bucket": int(_sha256(key)[:4], 16),
        "version": version,
        "rank": rank,
        "committed_at": f"2026-11-24T08:00:{version % 60:02d}.000001Z",
        "emitted_at": "2026-11-24T08:51:00.000000Z",
        "schema_version": 1,
        "partition_id": PARTITIONS[0],
    } | more


def _key(row: Mapping[str, Any]) -> str:
    return json.dumps({"trade_id": row["trade_id"], "leg_no": row["leg_no"]}, ensure_ascii=False, separators=(",", ":"))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
