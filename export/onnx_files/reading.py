"""Reads an ONNX file and its weight files."""

from collections.abc import Mapping
from pathlib import Path

import onnx

from export.check import as_version
from export.errors import ExportError
from model_store.errors import StoreError, first_line
from model_store.graph import FILE_NAME


def read_file(name: str, file: Path) -> tuple[bytes, Mapping[str, bytes]]:
    """The content, and that of the weight files that it names. ``name`` is the model's, for messages.

    Raises ExportError.
    """
    path = file.absolute()
    try:
        path.stat()
        plain = as_version(path).read_plain()
        onnx.load_model_from_string(plain.content)
    except (OSError, StoreError) as error:
        raise ExportError(f"{name}: {error}") from error
    except Exception as error:  # each implementation of protobuf has its own type
        raise ExportError(f"{name}: {path} is no ONNX file ({first_line(error)})") from error
    wrong = next((other for other in plain.external if not FILE_NAME.fullmatch(other)), None)
    if wrong is not None:
        raise ExportError(
            f"{name}: {path} has weights in {wrong!r}: save all of them in one file beside it, for example with "
            "onnx.save_model(model, path, save_as_external_data=True, location='weights.bin')"
        )
    return plain.content, plain.external
