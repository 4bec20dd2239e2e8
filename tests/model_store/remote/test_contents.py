"""What is taken of the names that a remote store lists."""

import pytest

from model_store.remote.contents import RemoteFile, sort_files

FILE = RemoteFile("where", 3, "stamp")
WHOLE = {"m/1/manifest.json": FILE, "m/1/main.onnx": FILE}


@pytest.mark.parametrize(
    "path",
    [
        "../m/1/main.onnx",
        "m/1/../../../etc/passwd",
        "m/1/..",
        "/etc/cron.d/1/main.onnx",
        "m/../1/main.onnx",
        "m/1/sub/../../x",
        "m/1/main.onnx\0.txt",
        "m/1/a\\..\\b",
        "m/1/-rf",
        "m\n/1/main.onnx",
        "m/" + "9" * 19 + "/main.onnx",
        "m/1/" + "x" * 300,
        "m/..",
        "m/1/a/b/c/d/e",
    ],
)
def test_names_that_no_store_has_are_left_out(path: str) -> None:
    """Nothing can be written outside of the folder of its version, whatever a remote store lists."""
    found = sort_files({"other/1/main.onnx": FILE, path: FILE})
    taken = [f"{n}/{v}/{f}" for n, m in found.models.items() for v, files in m.versions.items() for f in files]
    assert taken == ["other/1/main.onnx"]
    assert not any(model.beside for model in found.models.values())


def test_version_with_a_bad_name_is_left_out_whole() -> None:
    """A part of a version is none."""
    found = sort_files({**WHOLE, "m/1/..": FILE})
    assert found.models == {}
    assert "it is left out" in found.complaints[0]


def test_version_without_a_manifest_is_left_out_while_it_has_samples() -> None:
    """It is being uploaded: as a plain version, its ONNX file would be served without its description."""
    assert sort_files({"m/1/main.onnx": FILE, "m/1/golden.npz": FILE}).models == {}
    assert sort_files({"m/1/main.onnx": FILE}).models["m"].versions.keys() == {1}


def test_plain_version_of_unknown_size_is_left_out() -> None:
    """Nothing would tell when it is whole."""
    found = sort_files({"m/1/main.onnx": RemoteFile("where", None, "")})
    assert found.models == {}
    assert "expected one, because this store gives no sizes" in found.complaints[0]


def test_hidden_names_are_ignored() -> None:
    assert sort_files({".git/1/main.onnx": FILE, "m/1/.x": FILE, "m/.aliases-1": FILE}) == sort_files({})


def test_onnx_file_beside_versions_is_left_out() -> None:
    """A store that is a folder would serve it as version 1, and then as none when a version comes."""
    found = sort_files(
        {**WHOLE, "m/model.onnx": FILE, "m/config.pbtxt": FILE, "m/big.txt": RemoteFile("w", 1 << 40, "")}
    )
    assert found.models["m"].beside.keys() == {"config.pbtxt"}
    assert len(found.complaints) == 2
