"""Texts that grow."""

from hypothesis import given
from hypothesis import strategies as st

from service.codecs.written import without_part_of_stop

SHORT = st.text("ab", max_size=8)


@given(SHORT, st.lists(st.text("ab", min_size=1, max_size=5), max_size=4))
def test_end_that_may_become_a_stop_is_held_back(text: str, stops: list[str]) -> None:
    """As much as the longest end of the text with which a longer stop begins, and no more."""
    ends = [
        size
        for size in range(len(text) + 1)
        if any(len(s) > size and s.startswith(text[len(text) - size :]) for s in stops)
    ]

    assert without_part_of_stop(text, stops) == text[: len(text) - max(ends, default=0)]
