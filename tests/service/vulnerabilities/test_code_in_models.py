"""Models that carry code.

Published for TorchServe: CVE-2023-43654 (a model archive with a handler); for Triton: CVE-2025-23316 and CVE-2025-23319
(the Python backend); for BentoML: CVE-2025-27520 and its like, CVE-2026-27905 (an archive with links); for Ray:
CVE-2023-48022 (jobs are code). Here a model is data, and what could be code is refused with the reason.
"""

import hashlib
import io
import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from model_store import DEFAULT_ROOT
from tests.service.vulnerabilities.conftest import SECRET, Target, pickle_that_runs, serve
from tests.support.models import graphs

CODE = "import pathlib; pathlib.Path({mark!r}).touch()\n"
PYTHON_BACKEND = 'name: "{name}"\nbackend: "python"\nmax_batch_size: 4\n'


def write_python_backend(model: Path, mark: Path) -> None:
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(PYTHON_BACKEND.format(name=model.name))
    (model / "1/model.py").write_text(CODE.format(mark=str(mark)))


def write_escaping_backend(model: Path, mark: Path) -> None:
    """The folder of the backend is one of the attacker."""
    write_python_backend(model, mark)
    (model / "config.pbtxt").write_text(f'backend: "../../{model.parent.name}/{model.name}/1"\nplatform: "custom"\n')


def write_archive(model: Path, mark: Path) -> None:
    """What TorchServe takes: a zip file with a handler, and a pickled model."""
    (model / "1").mkdir(parents=True)
    (model / "1/model.pt").write_bytes(pickle_that_runs(mark))
    with zipfile.ZipFile(model / "1/model.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", '{"model": {"handler": "handler.py"}}')
        archive.writestr("handler.py", CODE.format(mark=str(mark)))
        archive.writestr("../../../mark", "")


def write_tar_with_link(model: Path, mark: Path) -> None:
    """What BentoML takes: an archive whose link leads out of the folder, and a file behind the link."""
    (model / "1").mkdir(parents=True)
    with tarfile.open(model / "1/model.bento", "w:gz") as archive:
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, str(mark.parent)
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("out/mark"), io.BytesIO())


def write_pickled_samples(model: Path, mark: Path) -> None:
    """A version whose golden samples are pickled objects, with the digest that they have."""
    shutil.copytree(DEFAULT_ROOT / "digits-classifier", model)
    [version] = [folder for folder in model.iterdir() if folder.is_dir()]
    holder = np.empty(1, object)
    holder[0] = _Touches(mark)
    np.savez(version / "golden.npz", **{"in.main.image": holder})
    manifest = json.loads((version / "manifest.json").read_text())
    content = (version / "golden.npz").read_bytes()
    manifest["files"]["golden.npz"] = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    (version / "manifest.json").write_text(json.dumps({**manifest, "name": model.name}))


class _Touches:
    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._mark,)


def write_pickle_as_onnx(model: Path, mark: Path) -> None:
    (model / "1").mkdir(parents=True)
    (model / "1/model.onnx").write_bytes(pickle_that_runs(mark))


def write_link(model: Path, mark: Path) -> None:
    """A graph that is a link to a file outside of the store."""
    (model / "1").mkdir(parents=True)
    outside = mark.parent / "outside.onnx"
    outside.write_bytes(graphs.double())
    (model / "1/model.onnx").symlink_to(outside)


def write_outer_weights(model: Path, mark: Path) -> None:
    """A graph whose weights are a file outside of the store (published for ONNX: CVE-2024-27318, CVE-2024-5187)."""
    onnx = pytest.importorskip("onnx")
    (model / "1").mkdir(parents=True)
    graph = onnx.load_model_from_string(graphs.double())
    outside = os.path.relpath(mark.parent / "secret.txt", model / "1")
    weight = onnx.numpy_helper.from_array(np.zeros(len(SECRET), np.uint8), "stolen")
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": outside, "offset": "0", "length": str(len(SECRET))}.items():
        weight.external_data.add(key=key, value=value)
    graph.graph.initializer.append(weight)
    graph.graph.node.append(onnx.helper.make_node("Identity", ["stolen"], ["z"]))
    graph.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.UINT8, [len(SECRET)]))
    (model / "1/model.onnx").write_bytes(graph.SerializeToString())


WRITERS: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "python-backend": (write_python_backend, "runs ONNX files only"),
    "escaping-backend": (write_escaping_backend, "runs ONNX files only"),
    "archive": (write_archive, "no ONNX file"),
    "tar-with-link": (write_tar_with_link, "no ONNX file"),
    "pickled-samples": (write_pickled_samples, "golden samples: expected NumPy"),
    "pickle-as-onnx": (write_pickle_as_onnx, "cannot load the graph"),
    "link": (write_link, "outside of the store"),
    "outer-weights": (write_outer_weights, "expected a file below the folder"),
}
"""Each with what the server says of it."""


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server whose store has all of them when it starts, beside good models."""
    folder = tmp_path_factory.mktemp("poisoned")
    for name, (write, _) in WRITERS.items():
        write(folder / "store" / name, folder / "mark")
    yield from serve(folder, control=True)


@pytest.mark.parametrize(("name", "reason"), [(name, reason) for name, (_, reason) in WRITERS.items()])
def test_a_model_that_is_code_does_not_serve(poisoned: Target, name: str, reason: str) -> None:
    """It runs nothing at the start of the server or when it is asked for, and other models serve."""
    x = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
    answers = [
        poisoned.client.post(f"/v2/repository/models/{name}/load"),
        poisoned.client.post(f"/v2/models/{name}/infer", json={"inputs": [x]}),
    ]
    for answer in answers:
        assert answer.status_code in (400, 404, 409, 503), answer.text
        assert SECRET not in answer.text
    shown = poisoned.client.post("/v2/repository/index").json()
    [entry] = [entry for entry in shown if entry["name"] == name]
    assert (entry["state"], reason in entry["reason"]) == ("UNAVAILABLE", True), entry
    poisoned.check_alive()
