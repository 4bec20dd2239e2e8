"""The files that a description names."""

import pytest

from export.errors import SpecError
from export.onnx_files.spec import OnnxSpec
from export.spec.files import check_further_files
from model_store.tasks import Reading
from tests.support.driving import make
from tests.support.models.text import make_model


def test_file_of_symbols_is_no_tokenizer():
    """Only files that are named as tokenizers must be some; every named file must be there."""
    graph = make_model("float[batch,4] x => float[batch,2,2] y", "y = Reshape(x, [0, 2, 2])")
    reading = Reading(output="y", file="symbols.txt")
    manifest = make({"main": graph}, task="predict_sequence", reading=reading).manifest
    check_further_files(OnnxSpec(name="m", file="m.onnx", further_files={"symbols.txt": b"\na\n"}), manifest)
    with pytest.raises(SpecError, match=r"expected the content of 'symbols.txt'"):
        check_further_files(OnnxSpec(name="m", file="m.onnx"), manifest)
