"""The symbols of a model that reads text: in its manifest, or in a file of its version."""

from collections.abc import Mapping
from typing import Protocol

from model_store.errors import BadManifest
from model_store.graph import MAIN, Graph
from model_store.tasks.reading import Reading


class Reader(Protocol):
    """The part of a manifest that is needed here."""

    @property
    def name(self) -> str: ...
    @property
    def graphs(self) -> Mapping[str, Graph]: ...
    @property
    def reading(self) -> Reading | None: ...


def find_symbols(manifest: Reader, files: Mapping[str, bytes]) -> tuple[str, ...]:
    """The symbols in order; none for a model that reads no text. ``files`` are those of the version.

    Raises BadManifest for a file that is no text, or if there are more or fewer symbols than scores.
    """
    facts = manifest.reading
    if facts is None:
        return ()
    symbols = (
        facts.symbols if facts.file is None else split_symbols(files[facts.file], f"{manifest.name}: {facts.file}")
    )
    output = next(tensor for tensor in manifest.graphs[MAIN].outputs if tensor.name == facts.output)
    size = output.row_shape[1]
    if isinstance(size, int) and size != len(symbols):
        where = "reading.symbols" if facts.file is None else f"{facts.file}, a symbol on each line"
        raise BadManifest(f"{manifest.name}: {where}: expected {size}, as {facts.output!r} has, got {len(symbols)}")
    if facts.blank >= len(symbols):
        raise BadManifest(f"{manifest.name}: reading.blank: expected less than {len(symbols)}, got {facts.blank}")
    return symbols


def split_symbols(content: bytes, where: str) -> tuple[str, ...]:
    """The lines of a file. A space is a symbol, and so are characters that other programs take for the end of a line.

    Raises BadManifest.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise BadManifest(f"{where}: expected a text in UTF-8 with a symbol on each line: {error}") from None
    return tuple(text.replace("\r\n", "\n").removesuffix("\n").split("\n"))


def join_symbols(symbols: tuple[str, ...]) -> bytes:
    """The content of a file with these symbols. Raises BadManifest for a symbol with the end of a line."""
    wrong = next((symbol for symbol in symbols if "\n" in symbol or symbol.endswith("\r")), None)
    if wrong is not None:
        raise BadManifest(f"symbols: expected no end of a line in a symbol, got {wrong!r}")
    return ("\n".join(symbols) + "\n").encode()
