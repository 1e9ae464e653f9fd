"""Ranges of buckets."""

import pytest

from lpm.procedures.reconciliation.ledger import Slice


@pytest.mark.parametrize(
    ("rows", "pieces", "first"),
    [
        (0, 1, Slice(0, 65_535)),
        (1_000, 1, Slice(0, 65_535)),
        (200_000, 2, Slice(0, 32_767)),
        (10**10, 65_536, Slice(0, 0)),
    ],
)
def test_pieces_hold_about_so_many_rows_and_cover_every_bucket_once(rows: int, pieces: int, first: Slice) -> None:
    found = list(Slice.everything().pieces(rows, 100_000))
    assert (len(found), found[0]) == (pieces, first)
    assert [bucket for piece in found for bucket in piece.buckets] == list(range(65_536))


def test_pieces_of_a_part_stay_in_it() -> None:
    assert list(Slice(10, 25).pieces(65_536, 10)) == [Slice(10, 19), Slice(20, 25)]


def test_the_range_around_keys_has_the_buckets_of_all_of_them() -> None:
    assert Slice.around(["00ff" + "0" * 60, "0a00" + "f" * 60, "0100" + "0" * 60]) == Slice(0x00FF, 0x0A00)
    assert Slice.around({"ffff" + "0" * 60}) == Slice(65_535, 65_535)
