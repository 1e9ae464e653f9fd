"""Ranges of buckets, and buckets that have one sum."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpm.contract.envelope import BUCKETS
from lpm.procedures.reconciliation.company import ROWS_OF_A_SUM, buckets_together
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


@given(rows=st.integers(0, 10**10))
def test_so_many_buckets_have_one_sum_that_it_is_of_few_rows_and_none_is_left_over(rows: int) -> None:
    width = buckets_together(rows)
    assert BUCKETS % width == 0
    assert width == 1 or rows * width / BUCKETS <= ROWS_OF_A_SUM
    assert width == BUCKETS or rows * 2 * width / BUCKETS > ROWS_OF_A_SUM, "no more sums than needed"
