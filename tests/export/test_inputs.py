import numpy as np
import pytest

from export import SpecError
from export.inputs import count_rows, in_chunks, lengths_of, make_random, rows_first, sizes_of, take_rows

torch = pytest.importorskip("torch")


def test_random_inputs_are_repeatable_and_differ_by_seed_and_size(make_spec):
    """The same sizes and seed give the same numbers; another seed gives others."""
    spec = make_spec()
    first = make_random(spec, {"batch": 5}, 0)["x"]
    assert np.array_equal(first, make_random(spec, {"batch": 5}, 0)["x"])
    assert not np.array_equal(first, make_random(spec, {"batch": 5}, 1)["x"])
    assert not np.array_equal(first, make_random(spec, {"batch": 6}, 0)["x"][:5])


@pytest.mark.parametrize(
    "sample",
    [
        torch.tensor([[0.5], [2.5]]),
        torch.tensor([[1], [7]], dtype=torch.uint8),
        torch.tensor([[True], [False]]),
        torch.tensor([[-(2**62)], [2**62]]),
    ],
    ids=["float", "uint8", "bool", "int64"],
)
def test_random_inputs_keep_datatype_and_range(make_spec, sample):
    """Drawn inputs lie within the sample's range and have its datatype."""
    drawn = make_random(make_spec(inputs={"x": sample}), {"batch": 200}, 0)["x"]
    seen = sample.numpy()
    assert drawn.dtype == seen.dtype
    assert drawn.shape == (200, 1)
    assert drawn.min() >= seen.min()
    assert drawn.max() <= seen.max()
    assert len(np.unique(drawn)) > 1


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        ({"z": torch.zeros(5, 4)}, r"expected \['x'\], got \['z'\]"),
        ({"x": torch.zeros(4, 4)}, r"expected float32 \(5, 4\), got float32 \(4, 4\)"),
        ({"x": torch.zeros(5, 4).double()}, r"expected float32 \(5, 4\), got float64"),
    ],
)
def test_own_random_inputs_are_checked(make_spec, made, complaint):
    """Other names, sizes or datatypes than asked for are refused with what was expected."""
    with pytest.raises(SpecError, match=complaint):
        make_random(make_spec(random_inputs=lambda sizes, seed: made), {"batch": 5}, 0)


def test_lengths_default_to_more_than_the_example(make_spec):
    """About half and twice the example's length are tried, never 0; a model without such axes has one empty set."""
    spec = make_spec(inputs={"x": torch.randn(3, 2, 4)}, dynamic={"x": {0: "batch", 1: "time"}})
    assert lengths_of(spec) == ({"time": 2}, {"time": 1}, {"time": 5})
    assert lengths_of(make_spec()) == ({},)


def test_chunks_hold_every_row_once(make_spec):
    """Rows are cut into batches of at most the grid's largest, and none is lost."""
    spec = make_spec(batches=(1, 64))
    rows = np.arange(130 * 4, dtype=np.float32).reshape(130, 4)
    chunks = [chunk["x"] for chunk in in_chunks(spec, {"x": rows})]
    assert [len(chunk) for chunk in chunks] == [64, 64, 2]
    assert np.array_equal(np.concatenate(chunks), rows)
    assert sizes_of(spec, {"x": rows}) == {"batch": 130}


def test_ids_are_drawn_from_their_ranges_and_tables_are_not_made_shorter(make_module, make_spec):
    """Ids stay inside a table that all rows share, and inside declared ranges."""
    spec = make_spec(
        make_module(inputs=2),
        inputs={"x": torch.tensor([[0, 9], [5, 3], [1, 2]]), "y": torch.randn(10, 4)},
        outputs=("p",),
        dynamic={"x": {0: "batch"}, "y": {0: "entries"}},
        ranges={"x": (0, 3)},
    )
    assert lengths_of(spec) == ({"entries": 10}, {"entries": 11}, {"entries": 21})
    drawn = make_random(spec, {"batch": 100, "entries": 10}, 0)["x"]
    assert (drawn.min(), drawn.max()) == (0, 3)


def test_rows_are_taken_from_the_axis_that_holds_them(make_module, make_spec):
    """Rows are taken from each input's own batch axis; what all rows share stays whole."""
    inputs = {"x": torch.arange(24.0).reshape(4, 3, 2), "y": torch.tensor(2.0)}
    spec = make_spec(make_module(inputs=2), inputs=inputs, outputs=("p",), dynamic={"x": {1: "batch"}})
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    taken = take_rows(spec, arrays, [2, 0])
    assert count_rows(spec, arrays) == 3
    assert np.array_equal(taken["x"], arrays["x"][:, [2, 0]])
    assert taken["y"] == 2
    assert np.array_equal(rows_first({"x": 1}, taken)["x"], np.moveaxis(taken["x"], 1, 0))
