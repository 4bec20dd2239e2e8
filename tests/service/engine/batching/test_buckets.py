"""Batch sizes on a GPU."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.batching.buckets import bucket_of, make_buckets


@pytest.mark.parametrize(
    ("max_rows", "least_rows", "buckets"),
    [
        (1, 1, (1,)),
        (2, 1, (1, 2)),
        (24, 1, (1, 2, 4, 8, 16, 24)),
        (64, 2, (2, 4, 8, 16, 32, 64)),
        (2, 2, (2,)),
        (3, 3, (3,)),
    ],
)
def test_buckets_double_up_to_the_largest_batch(max_rows: int, least_rows: int, buckets: tuple[int, ...]) -> None:
    """Sizes double from the least rows and end with the largest batch, whatever that is."""
    assert make_buckets(max_rows, least_rows) == buckets


@given(st.integers(1, 1024), st.data())
def test_bucket_holds_the_rows_and_is_at_most_twice_as_large(max_rows: int, data: st.DataObject) -> None:
    """No batch exceeds the largest, padding never more than doubles the rows, and the buckets are few and ascend."""
    rows = data.draw(st.integers(1, max_rows))
    buckets = make_buckets(max_rows)
    bucket = bucket_of(rows, buckets)
    assert rows <= bucket <= min(max_rows, 2 * rows)
    assert bucket in buckets
    assert bucket_of(bucket, buckets) == bucket
    assert list(buckets) == sorted(set(buckets))
    assert len(buckets) <= max_rows.bit_length() + 1


def test_rows_above_the_largest_bucket_are_not_padded() -> None:
    """A batch larger than every bucket, such as stored samples at load, runs as it is."""
    assert bucket_of(9, (1, 2, 4, 8)) == 9
    assert bucket_of(3, ()) == 3
