"""Which rows are compared where a set of vectors has too many pairs."""

from collections import Counter

from export.importers.evaluation import draw_rows


def test_pairs_of_a_large_set_stay_together() -> None:
    """Of labels with two rows each, whether side by side or far apart, both rows are drawn; each draw is the same."""
    beside = [str(row // 2) for row in range(5000)]
    apart = [str(row % 2500) for row in range(5000)]
    for labels in (beside, apart):
        drawn = draw_rows(labels, 2000)
        assert drawn.tolist() == draw_rows(labels, 2000).tolist() == sorted(set(drawn.tolist()))
        assert Counter(Counter(labels[row] for row in drawn).values()) == {2: 1000}


def test_each_large_label_has_its_share() -> None:
    """No label takes all places, and a small set is taken whole."""
    labels = ["a"] * 4000 + ["b"] * 3000 + ["c"] * 50
    assert Counter(labels[row] for row in draw_rows(labels, 2000)) == {"a": 666, "b": 666, "c": 50}
    assert draw_rows(labels, len(labels)).tolist() == list(range(len(labels)))
