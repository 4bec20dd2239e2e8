"""Row analysis of common networks, exported by both of PyTorch's exporters."""

import functools
import zlib
from collections.abc import Iterator

import numpy as np
import onnx
import pytest

from model_store.rows import Analysis, analyse
from tests.support.inferring import Plain, Tensors
from tests.support.rows.mixers import MIXERS, find_places, mix

architectures = pytest.importorskip("tests.support.rows.architectures", exc_type=ImportError)
exporters = pytest.importorskip("tests.support.rows.exporters", exc_type=ImportError)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore")]

CASES = [
    (name, exporter)
    for name in architectures.ARCHITECTURES
    for exporter in exporters.EXPORTERS
    if (name, exporter) not in exporters.UNSUPPORTED
]
NOT_UNDERSTOOD = {
    "swin-of-any-size": "its windows are cut and joined by sizes that depend on the remainder of height and width",
    "wav2vec2-mask": "frames that are masked are found by their places in the whole batch, by NonZero",
}
"""Served without sharing batches: their rows are independent, and the analysis may not know it."""
_NAMES = [f"{name}-{exporter}" for name, exporter in CASES]
_ROWS = 3
_MIXED = 6
"""Places of a graph where a node that mixes rows is put, one at a time."""


@functools.cache
def export(name: str, exporter: str) -> bytes:
    content: bytes = exporters.EXPORTERS[exporter](architectures.make(name))
    return content


@functools.cache
def judge(name: str, exporter: str) -> Analysis:
    return analyse(export(name, exporter))


def draw(name: str, plain: Plain) -> Tensors:
    """Rows for the inputs that the file has: an exporter leaves out what the network does not use."""
    drawn = architectures.draw(architectures.make(name), _ROWS)
    return {name: drawn[name] for name in plain.input_names}


def measure_mixing(plain: Plain, inputs: Tensors) -> float:
    """How far the rows are from what they are alone, as a part of how far they are from each other."""
    together, worst = plain.run(inputs), 0.0
    for row in range(_ROWS):
        alone = plain.run({name: array[row : row + 1] for name, array in inputs.items()})
        for name, array in alone.items():
            assert array.shape == together[name][row : row + 1].shape
            off = np.abs(together[name][row : row + 1] - array).max(initial=0)
            worst = max(worst, float(off / max(1e-9, np.ptp(together[name], axis=0).max())))
    return worst


@pytest.mark.parametrize(("name", "exporter"), CASES, ids=_NAMES)
def test_architecture_is_proved_with_its_rows_where_they_are(name: str, exporter: str) -> None:
    """Runs show independent rows, and the analysis proves them with the batch first everywhere."""
    plain, found = Plain(export(name, exporter)), judge(name, exporter)
    assert measure_mixing(plain, draw(name, plain)) < 1e-4
    assert found.rows == "proved" or name in NOT_UNDERSTOOD, found.reason
    if found.rows == "proved":
        assert found.axes == dict.fromkeys((*plain.input_names, *plain.output_names), 0)


@pytest.mark.timeout(3600)  # alone, it exports all of them
def test_nine_tenths_of_the_architectures_are_proved_from_the_file_alone() -> None:
    """At least 90 % of each exporter's files are proved."""
    for exporter in exporters.EXPORTERS:
        found = {name: judge(name, used) for name, used in CASES if used == exporter}
        others = {name: f"{analysis.rows}: {analysis.reason}" for name, analysis in found.items()}
        proved = [name for name, analysis in found.items() if analysis.rows == "proved"]
        for name in proved:
            del others[name]
        report = "\n".join(f"{name}: {reason}" for name, reason in others.items())
        assert len(proved) >= 0.9 * len(found), f"{exporter}: {len(proved)} of {len(found)}\n{report}"


@pytest.mark.parametrize(("name", "exporter"), CASES, ids=_NAMES)
def test_architecture_with_a_node_that_mixes_rows_is_never_proved(name: str, exporter: str) -> None:
    """A mixing node is put in at random places; wherever a run shows it, nothing is proved."""
    mixed = 0
    for place, mixer, content in _mix_somewhere(name, exporter):
        if _shows_mixing(name, content):
            mixed += 1
            found = analyse(content)
            assert found.rows != "proved", f"{mixer} after {place}"
        if mixed == _MIXED:
            break
    assert mixed


def _mix_somewhere(name: str, exporter: str) -> Iterator[tuple[str, str, bytes]]:
    model = onnx.load_from_string(export(name, exporter))
    draw_place = np.random.default_rng(zlib.crc32(f"{name}-{exporter}".encode()))
    places = find_places(model)
    for _ in range(4 * _MIXED):
        place, mixer = str(draw_place.choice(places)), str(draw_place.choice(list(MIXERS)))
        yield place, mixer, mix(model, place, mixer).SerializeToString()


def _shows_mixing(name: str, content: bytes) -> bool:
    """Whether rows differ from what they are alone; not where the node does not fit the tensor before it."""
    try:
        plain = Plain(content)
        return measure_mixing(plain, draw(name, plain)) > 1e-3
    except Exception:  # noqa: BLE001  # whatever ONNX Runtime raises
        return False
