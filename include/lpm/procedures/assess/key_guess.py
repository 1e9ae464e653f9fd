"""Which columns of a table could be its key."""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from lpm.config import ColumnType
from lpm.procedures.assess.spark_columns import SourceColumn

MOST_CANDIDATES, MOST_COLUMNS_OF_KEY = 6, 4
APPROXIMATION = 1.2  # how far approx_count_distinct may be below the truth
KEY_WORDS = frozenset({"id", "key", "no", "nr", "num", "number", "code", "leg", "line", "seq", "ref"})


def candidates(columns: Iterable[tuple[SourceColumn, ColumnType]], company: str) -> list[str]:
    """Columns that could be part of the key, the likelier ones first; the company comes last."""
    usable = [column for column, kind in columns if kind.kind not in ("double", "binary")]
    likely = [column for column in usable if not column.nullable or _sounds_like_a_key(column.name)]
    ranked = sorted(
        likely or usable,
        key=lambda column: (column.name == company, column.nullable, not _sounds_like_a_key(column.name)),
    )
    return [column.name for column in ranked[:MOST_CANDIDATES]]


def combinations(names: Sequence[str], distinct: Mapping[str, int], rows: int) -> Iterator[tuple[str, ...]]:
    """Sets of columns that could be unique, the smaller ones first. Too few distinct values cannot tell rows apart."""
    for size in range(1, MOST_COLUMNS_OF_KEY + 1):
        for chosen in itertools.combinations(names, size):
            if math.prod(APPROXIMATION * max(1, distinct[name]) for name in chosen) >= rows:
                yield chosen


def primary_key_of(texts: Iterable[str]) -> tuple[str, ...]:
    """The columns of the first PRIMARY KEY in what DESCRIBE TABLE EXTENDED says of constraints."""
    for text in texts:
        if found := re.search(r"PRIMARY KEY \(([^)]+)\)", text):
            return tuple(part.strip().strip("`") for part in found[1].split(","))
    return ()


def _sounds_like_a_key(name: str) -> bool:
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", name)
    return any(word.lower() in KEY_WORDS for word in words) or name.lower().endswith("id")
