"""States that callers keep: signed, bound to a model version, exact."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store.graph import Graph
from model_store.manifest import File, Manifest
from service.codecs.model_context import ModelContext
from service.codecs.state import MAX_CHARACTERS, Origin, open_state, origin_of, seal
from service.errors import InvalidInput

KEY = b"k" * 32
ORIGIN = Origin("m", "1", "0" * 64)
TENSORS = {"h": np.arange(3, dtype=np.float32), "n": np.array(7, np.int64)}
SEALED = seal(KEY, ORIGIN, TENSORS)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, len(SEALED) - 1), other=st.sampled_from(ALPHABET))
def test_every_other_character_is_refused(position: int, other: str) -> None:
    """A state with any character changed, the unused bits of the last one included, is refused."""
    changed = SEALED[:position] + other + SEALED[position + 1 :]
    if changed == SEALED:
        return
    with pytest.raises(InvalidInput, match="expected the text of an earlier answer, unchanged"):
        open_state(KEY, ORIGIN, changed, TENSORS, "state")


CHANGED = {
    "nothing": "",
    "a character": "A",
    "no base64": "é",
    "cut": SEALED[:-1],
    "cut in the middle": SEALED[:40],
    "padded": SEALED + "=",
    "prolonged": SEALED + "A",
    "with a line end": SEALED + "\n",
    "null": None,
    "number": 5,
    "over the limit": "A" * (MAX_CHARACTERS + 1),
    **{f"ends in {other}": SEALED[:-1] + other for other in ALPHABET.replace(SEALED[-1], "")},
}


@pytest.mark.parametrize("text", CHANGED.values(), ids=CHANGED)
def test_what_is_no_state_is_refused(text: object) -> None:
    """Another type or length, and another text for the same bytes: base64 has several where bits are left over."""
    with pytest.raises(InvalidInput, match=r"^inputs\[3\]\.state: expected the text of an earlier answer, unchanged"):
        open_state(KEY, ORIGIN, text, TENSORS, "inputs[3].state")


def test_no_key_signs_and_opens_nothing() -> None:
    """Without a key states are refused both ways; another key takes one for changed, and another layout is not read."""
    with pytest.raises(InvalidInput, match="unchanged"):
        open_state(b"another", ORIGIN, SEALED, TENSORS, "state")
    with pytest.raises(InvalidInput, match=r"^return_state: this service has no key"):
        seal(b"", ORIGIN, TENSORS)
    with pytest.raises(InvalidInput, match=r"^state: this service has no key"):
        open_state(b"", ORIGIN, SEALED, TENSORS, "state")
    with pytest.raises(InvalidInput, match="expected 12 bytes of tensors, got 20"):
        open_state(KEY, ORIGIN, SEALED, {"h": TENSORS["h"]}, "state")


@pytest.mark.parametrize(
    ("origin", "complaint"),
    [
        (Origin("other", "1", ORIGIN.digest), "state of model 'other' version 1, got one of model 'm' version 1"),
        (Origin("m", "2", ORIGIN.digest), "expected a state of model 'm' version 2, got one of model 'm' version 1;"),
        (Origin("m", "1", "1" * 64), "got one of model 'm' version 1 with other files; begin without a state"),
    ],
)
def test_state_of_another_version_is_refused(origin: Origin, complaint: str) -> None:
    """A state fits the model, version and files that gave it and no others; the text says which these were."""
    with pytest.raises(InvalidInput, match=complaint):
        open_state(KEY, origin, SEALED, TENSORS, "state")


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.floats(width=32), max_size=9),
    number=st.integers(-(2**63), 2**63 - 1),
    name=st.text("ab.-_9", min_size=1, max_size=20),
)
def test_state_comes_back_bit_for_bit(values: list[float], number: int, name: str) -> None:
    """What was sealed is opened with the same bits, datatypes and shapes."""
    tensors = {"h": np.array(values, np.float32).reshape(1, -1), "n": np.array(number)}
    origin = Origin(name, "3", "f" * 64)
    opened = open_state(KEY, origin, seal(KEY, origin, tensors), tensors, "state")
    for key, array in tensors.items():
        assert opened[key].tobytes() == array.tobytes()
        assert (opened[key].dtype, opened[key].shape) == (array.dtype, array.shape)


def test_origin_tells_files_apart() -> None:
    """Another digest of any file is another origin; the order of the files is not."""

    def origin(files: dict[str, str]) -> Origin:
        described = {name: File(sha256=digit * 64, size_bytes=1) for name, digit in files.items()}
        graphs = {"main": Graph(file="a", inputs=(), outputs=())}
        return origin_of(ModelContext("m", "1", Manifest(name="m", task="tensors", graphs=graphs, files=described)))

    assert origin({"a": "1", "b": "2"}) == origin({"b": "2", "a": "1"})
    assert len({origin({"a": "1"}), origin({"a": "2"}), origin({"b": "1"})}) == 3
