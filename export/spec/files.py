"""The files of a version beside its graphs: golden samples, and files that a description names, such as a tokenizer."""

from export.errors import SpecError
from export.spec.description import ModelDescription
from model_store.errors import StoreError
from model_store.graph import MAIN
from model_store.manifest import GOLDEN_FILE, Manifest
from model_store.texts.tokenizer import Tokenizer


def golden_file(graph: str) -> str:
    return GOLDEN_FILE if graph == MAIN else f"golden-{graph}.npz"


def check_further_files(spec: ModelDescription, manifest: Manifest) -> None:
    """Raises SpecError if a file that the description names is missing, or if a tokenizer cannot be read."""
    for name in sorted(manifest.further_files):
        if name not in spec.further_files:
            raise SpecError(
                f"{spec.name}: further_files: expected the content of {name!r}, which the description names"
            )
        if name not in manifest.tokenizer_files:
            continue
        try:
            Tokenizer(spec.further_files[name], f"{spec.name}: further_files: {name!r}")
        except StoreError as error:
            raise SpecError(str(error)) from error
