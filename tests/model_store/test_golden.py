"""Golden samples: which files are read, and which tolerances prove something."""

import gc
import io
import re
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from model_store import BadManifest, GoldenSamples, IntegrityError, Store
from model_store.datatypes import DATATYPES
from model_store.golden import check_tolerance, find_no_probability
from model_store.manifest import Golden
from model_store.tasks import Classes
from tests.support.models.manifests import describe


def rows_of(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, 1)


OUTPUT = np.array([[0.25, -1.0], [0.5, 0.125]], np.float32)


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{"in.x": np.array([["a"]], object)})
    return buffer.getvalue()


CUT_OFF = GoldenSamples({"x": OUTPUT}, {"y": OUTPUT}).to_bytes()[:-10]


@pytest.mark.parametrize("content", [b"", b"PK", b"no arrays", CUT_OFF, pickled()])
def test_what_is_no_file_of_arrays_is_an_integrity_error(content: bytes) -> None:
    """NumPy's errors become integrity errors, and pickled objects are never unpickled."""
    with pytest.raises(IntegrityError, match=r"golden samples: expected NumPy's \.npz: "):
        GoldenSamples.from_bytes(content)


TEXTS = np.array([["", "día"], ["a longer text", "\U0001f600"]], object)


def test_texts_are_stored_without_pickle() -> None:
    """Texts come back as objects, as ONNX Runtime takes them, whatever their lengths and characters."""
    found = GoldenSamples.from_bytes(GoldenSamples({"x": TEXTS}, {"y": TEXTS.astype(np.str_)}).to_bytes())
    for array in (found.inputs["x"], found.outputs["y"]):
        assert array.dtype == object
        assert array.tolist() == TEXTS.tolist()


@pytest.mark.parametrize(
    ("text", "complaint"), [("a\0", r"in\.x: 'a\\x00' ends with NUL"), (b"\xff", r"in\.x: expected texts in UTF-8")]
)
def test_text_that_the_file_cannot_hold_is_refused(text: str | bytes, complaint: str) -> None:
    """It would come back as another text, so it is no sample."""
    with pytest.raises(BadManifest, match=complaint):
        GoldenSamples({"x": np.array([text], object)}, {}).to_bytes()


@pytest.mark.parametrize(
    ("output", "atol", "rtol", "is_proof"),
    [
        (OUTPUT, 0.0, 0.0, True),
        (OUTPUT, 0.49, 0.0, True),
        (OUTPUT, 0.5, 0.0, False),
        (OUTPUT, 0.0, 0.5, False),
        (OUTPUT, 0.25, 0.25, False),
        (OUTPUT, 1e300, 0.0, False),
        (OUTPUT, 0.0, 1e300, False),
        (1e-4 * OUTPUT, 1e-3, 0.0, False),
        (0 * OUTPUT, 1e-3, 1e300, True),
        (0 * OUTPUT, 0.5, 0.0, False),
        (np.array([np.nan, 2.0, np.inf]), 0.9, 0.0, True),
        (np.array([np.nan, 2.0, np.inf]), 1.0, 0.0, False),
        (OUTPUT.astype(DATATYPES["BF16"].dtype), 0.5, 0.0, False),
        (np.array([1, 3]), 1.5, 0.0, False),
        (np.array([True]), 10.0, 0.0, True),
        (np.array(["a"], object), 10.0, 0.0, True),
        (np.zeros((0, 2)), 10.0, 0.0, True),
    ],
)
def test_tolerance_is_less_than_half_of_the_magnitude(
    output: np.ndarray, atol: float, rtol: float, is_proof: bool
) -> None:
    """A larger one would let zeros pass. Texts and booleans have none."""
    facts, samples = Golden(rows=2, atol=atol, rtol=rtol), GoldenSamples({}, {"y": output})
    if is_proof:
        check_tolerance(facts, samples)
        return
    with pytest.raises(
        BadManifest, match=r"(?s)let output 'y' differ by .*, so they prove nothing: expected less than"
    ):
        check_tolerance(facts, samples)


def test_version_whose_tolerance_proves_nothing_is_not_published(store: Store) -> None:
    """A version without real samples is not published either, and nothing is left of it."""
    manifest = describe(golden=Golden(rows=2, atol=1.0, rtol=0.0))
    golden = GoldenSamples({"x": OUTPUT}, {"y": OUTPUT}).to_bytes()
    with pytest.raises(BadManifest, match="they prove nothing"):
        store.publish(manifest, {"main.onnx": b"", "golden.npz": golden})
    with pytest.raises(IntegrityError, match="golden samples"):
        store.publish(manifest, {"main.onnx": b"", "golden.npz": b"none"})
    assert not store.root.exists()


def test_tampered_golden_samples_are_refused(store: Store) -> None:
    """The digest is checked before the file is opened."""
    golden = GoldenSamples({"x": rows_of(1)}, {"y": rows_of(2)})
    manifest = describe(golden=Golden(rows=1, atol=0.0, rtol=0.0))
    version = store.publish(manifest, {"main.onnx": b"", "golden.npz": golden.to_bytes()})
    other = GoldenSamples({"x": rows_of(1)}, {"y": rows_of(3)})
    (version.folder / "golden.npz").write_bytes(other.to_bytes())
    with pytest.raises(IntegrityError, match=r"golden\.npz is not the file"):
        version.read_golden(version.read_manifest())


def test_version_without_golden_samples_has_none(filled: Store) -> None:
    """The result is None."""
    version = filled.find("m")
    assert version.read_golden(version.read_manifest()) is None


def test_golden_samples_survive_writing_and_reading() -> None:
    """Names, dtypes, shapes and values come back, also where an input and an output share a name."""
    inputs = {"x": rows_of(1, np.nan), "ids": np.array([[1 << 62]], np.int64)}
    outputs = {"x": np.array([[True]]), "in.y": np.zeros((0, 3), np.float16)}
    again = GoldenSamples.from_bytes(GoldenSamples(inputs, outputs).to_bytes())
    for before, after in ((inputs, again.inputs), (outputs, again.outputs)):
        assert set(after) == set(before)
        for name, array in before.items():
            assert after[name].dtype == array.dtype
            np.testing.assert_array_equal(after[name], array)


@pytest.mark.parametrize(
    ("value", "advice"),
    [(float("nan"), "is nan in row 0 .* look for what makes it in the model"), (7.0, "is 7 in row 0 .*--activation")],
)
def test_what_is_no_probability_has_advice(value: float, advice: str) -> None:
    """Scores get the ways to say so; NaN is no score, so its cause is to be found."""
    found = find_no_probability(Classes(probabilities="p"), {"p": np.array([[value, 0.0]], np.float32)}, 0.0)
    assert re.search(advice, found), found


class Litter:
    """Garbage in a circle. What collects it runs Python code, so another thread may go on meanwhile."""

    def __init__(self) -> None:
        self.own = self

    def __del__(self) -> None:
        sum(range(50))


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(20)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("frequent_switches")
def test_threads_read_samples_at_once() -> None:
    """Models load in threads. Python 3.11 confuses the parsers of two of them if garbage is collected in between."""
    content = GoldenSamples({f"x{number}": OUTPUT for number in range(8)}, {"y": OUTPUT}).to_bytes()
    faults: list[SystemError] = []

    def read() -> None:
        for _ in range(200):
            Litter()
            try:
                GoldenSamples.from_bytes(content)
            except SystemError as error:
                faults.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
