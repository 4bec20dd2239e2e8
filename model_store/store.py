"""The store: ``<root>/<name>/<version>/`` with a manifest, graphs and golden samples.

Rules
- A version is an integer from 1 and never changes once it is there.
- A version is written into a hidden folder beside the others, synced and renamed, so it is whole or absent. The next
  publisher, or a starting server, removes what a killed publisher left.
- The rename also claims the number, so two publishers cannot get the same one, with locks or without.
- Each model's aliases are one small file, replaced atomically; ``files/aliases.py`` has the rules.
- The number of a removed version is never used again.
- ``<name>/<version>/model.onnx`` without a manifest is a plain version.
- Entries that cannot be used are listed too, with the reason (``listing.py``).
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from model_store.errors import BadLayout, BadManifest, BadName, IntegrityError, NotInStore, NotSigned
from model_store.files.aliases import (
    ALIAS,
    ALIASES_FILE,
    STABLE,
    find_alias,
    read_aliases,
    read_history,
    record_move,
    write_aliases,
    write_history,
)
from model_store.files.integrity import describe_bytes, read_checked
from model_store.files.links import Boundary, tell_why
from model_store.files.reading import MOST_CONFIG_BYTES, MOST_TEXT_BYTES, is_there
from model_store.files.staging import locked, locked_where_possible, staged, sweep
from model_store.files.writing import FORBIDDEN, explain, replace_synced, sync_folder, write_synced
from model_store.golden import GoldenSamples, check_tolerance, find_no_probability
from model_store.listing import CONFIG_FILE, NAME, NAME_RULE, NUMBER, Contents, ReadDefault, list_model, list_store
from model_store.manifest import MANIFEST_FILE, Manifest
from model_store.plain import PLAIN_FILE, PlainModel, is_onnx, read_plain
from model_store.schema import find_release
from model_store.signing import SIGNATURE_FILE
from model_store.signing.keys import Signers, explain_unsigned
from model_store.texts.symbols import find_symbols

__all__ = ["ALIASES_FILE", "PLAIN_FILE", "GoldenSamples", "ModelVersion", "Move", "Store", "read_number"]


class Move(NamedTuple):
    """A change of an alias: the version that it named, and the one that it names now; None: no version."""

    before: int | None
    after: int | None


def read_number(version: str) -> int | None:
    """The version number in a text; None if the text is an alias. Other numbers give 0, which no version has."""
    if NUMBER.fullmatch(version):
        return int(version)
    return 0 if version.isascii() and version.isdigit() else None


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version in the store. ``folder`` holds its files; they are read on demand.

    ``boundary`` limits symbolic links; without one they must stay in ``folder``. ``default_filename`` is the name of
    the ONNX file, if there is no manifest and a configuration gives it. With ``signers``, a version that none of them
    has signed is not read.
    """

    name: str
    version: int
    folder: Path
    boundary: Boundary | None = None
    default_filename: str | None = None
    signers: Signers | None = None

    @property
    def is_plain(self) -> bool:
        """Whether this is an ONNX file without a manifest. Raises BadLayout if the folder cannot be read."""
        return not self._has(MANIFEST_FILE)

    def read_manifest(self) -> Manifest:
        """The manifest. Raises BadManifest, BadLayout, NotSigned, or NotInStore for a plain version."""
        path = self.folder / MANIFEST_FILE
        if self.is_plain:
            raise NotInStore(f"{self.name} version {self.version} has no {MANIFEST_FILE}")
        text = self._bounds.read(path, MOST_TEXT_BYTES)
        if self.signers is not None:  # on the bytes that are parsed, before they are parsed
            self._check_signature(self.signers, text)
        manifest = Manifest.from_json(text, f"{self.name}/{self.version}/{MANIFEST_FILE}")
        if manifest.name != self.name:
            raise IntegrityError(
                f"the manifest in {self.name}/{self.version}: expected name {self.name!r}, got {manifest.name!r}"
            )
        return manifest

    def _check_signature(self, signers: Signers, manifest: bytes) -> None:
        where = f"{self.name}/{self.version}"
        if not self._has(SIGNATURE_FILE):
            raise NotSigned(
                f"{where} has no signature: `sluice models sign {self.name} --version {self.version} --key KEY` makes "
                f"its {SIGNATURE_FILE}"
            )
        try:
            signers.check(self._bounds.read(self.folder / SIGNATURE_FILE, MOST_TEXT_BYTES), manifest, self.version)
        except NotSigned as error:
            raise NotSigned(f"{where}/{SIGNATURE_FILE}: {error}") from None

    def read(self, manifest: Manifest, file: str) -> bytes:
        """The content of a file of the version, checked against the manifest. Raises IntegrityError, BadLayout."""
        expected = manifest.files.get(file)
        if expected is None:
            raise IntegrityError(f"{file} is not listed in the manifest of {self.name}/{self.version}")
        path = self.folder / file
        return read_checked(self._bounds.resolve(path) if path.is_symlink() else path, expected)

    def read_plain(self) -> PlainModel:
        """The files of a version without a manifest. Raises BadLayout, and NotSigned where versions must be signed."""
        if self.signers is not None:
            raise NotSigned(explain_unsigned(self.name, self.version))
        return read_plain(self.folder, self._bounds, self.default_filename)

    def read_beside(self, file: str) -> bytes | None:
        """A file that all versions of the model share, such as its configuration; None if there is none.

        Raises BadLayout if it cannot be read.
        """
        folder = self.folder.parent if NUMBER.fullmatch(self.folder.name) else self.folder
        most = MOST_CONFIG_BYTES if file == CONFIG_FILE else MOST_TEXT_BYTES
        return self._bounds.read(folder / file, most) if self._has(folder / file) else None

    def _has(self, file: str | Path) -> bool:
        path = self.folder / file
        try:
            return is_there(path)
        except OSError as error:
            raise BadLayout(f"{self._bounds.where(path)} cannot be read: {tell_why(error)}") from None

    @property
    def _bounds(self) -> Boundary:
        return self.boundary or Boundary(self.folder)

    def read_golden(self, manifest: Manifest) -> GoldenSamples | None:
        """The stored samples, or None if the manifest has none. Raises IntegrityError."""
        if manifest.golden is None:
            return None
        return GoldenSamples.from_bytes(self.read(manifest, manifest.golden.file))

    def verify(self) -> Manifest:
        """Read and check every file of the version. Raises IntegrityError or BadManifest at the first fault."""
        return self.read_all()[0]

    def check(self) -> None:
        """As ``verify``, but a plain version is read too. Raises StoreError, OSError."""
        if self.is_plain:
            self.read_plain()
        else:
            self.verify()

    def read_all(self) -> tuple[Manifest, dict[str, bytes]]:
        """The manifest and the checked content of every file, each read once. Raises as ``verify``."""
        manifest = self.read_manifest()
        contents = {file: self.read(manifest, file) for file in manifest.files}
        allowed = {*manifest.files, MANIFEST_FILE, SIGNATURE_FILE}
        for path in sorted(self.folder.iterdir()):
            if path.name not in allowed:
                raise IntegrityError(f"{path.name} in {self.name}/{self.version} is not in its manifest: remove it")
        return manifest, contents


class Store:
    """A folder of models. Reading never writes; the folder need not exist before the first publish.

    With ``follow_links``, symbolic links may lead out of the folder. ``read_default`` reads the name of a model's ONNX
    files from its ``config.pbtxt``. With ``signers``, versions that none of them has signed are listed but not read.
    """

    def __init__(
        self,
        root: Path,
        *,
        follow_links: bool = False,
        read_default: ReadDefault | None = None,
        signers: Signers | None = None,
    ) -> None:
        self.root = Path(root)
        self.signers = signers
        self._read_default = read_default
        self._boundary = Boundary(self.root, follow_links)

    def list_all(self) -> dict[str, Contents]:
        """The contents of the store by model name, sorted, unusable entries included.

        Raises OSError if the folder itself cannot be read.
        """
        return list_store(self._boundary, self._read_default)

    def list_model(self, name: str) -> Contents:
        """The contents of one model's folder; empty if it has none. Raises StoreError, OSError."""
        folder = self.folder(name)
        if folder.is_symlink():
            self._boundary.resolve(folder)
        return list_model(name, folder, self._boundary, self._read_default) if folder.is_dir() else Contents({})

    def names(self) -> list[str]:
        """The models with at least one usable version, sorted."""
        return [name for name, contents in self.list_all().items() if contents.folders]

    def versions(self, name: str) -> list[ModelVersion]:
        """All usable versions of a model, oldest first. Raises BadName, BadLayout, NotInStore."""
        contents = self.list_model(name)
        if contents.unusable and not contents.folders:
            raise NotInStore(f"no version of {name!r} can be used: {contents.why}")
        if not contents.folders:
            known = ", ".join(self.names()) or "no models"
            raise NotInStore(f"no model {name!r} in {self.root}: it holds {known}")
        return self.versions_of(name, contents)

    def versions_of(self, name: str, contents: Contents) -> list[ModelVersion]:
        """The versions in ``contents``, oldest first."""
        facts = (self._boundary, contents.default_filename, self.signers)
        return [ModelVersion(name, number, folder, *facts) for number, folder in contents.folders.items()]

    def find(self, name: str, version: int | str | None = None) -> ModelVersion:
        """A version by number or alias, or the newest. Raises BadName, BadLayout, NotInStore."""
        versions = self.versions(name)
        if version is None:
            return versions[-1]
        wanted = version if isinstance(version, int) else self._resolve(name, version)
        for candidate in versions:
            if candidate.version == wanted:
                return candidate
        for unusable in self.list_model(name).unusable:
            if unusable.version == str(wanted):
                raise NotInStore(f"version {version} of {name!r} cannot be used: {unusable.reason}")
        have = ", ".join(str(v.version) for v in versions)
        raise NotInStore(f"no version {version} of {name!r}: expected one of {have}")

    def _resolve(self, name: str, version: str) -> int:
        number = read_number(version)
        return find_alias(name, self.aliases(name), version) if number is None else number

    def folder(self, name: str) -> Path:
        """The folder of a model, whether or not it is there. Raises BadName."""
        if not NAME.fullmatch(name):
            raise BadName(f"model name {name!r}: expected {NAME_RULE}")
        return self.root / name

    def aliases(self, name: str) -> dict[str, int]:
        """The aliases of a model. Raises BadName, or IntegrityError if the file does not hold aliases."""
        return read_aliases(self.folder(name))

    @contextlib.contextmanager
    def changing(self, name: str) -> Iterator[Path]:
        """The folder of a model, locked so that nobody else changes it during the block.

        Raises NotInStore if it is not there, BadLayout if it lies outside of the store, and NotWritable if this process
        may not change it.
        """
        folder = self.folder(name)
        if folder.is_symlink():
            self._boundary.resolve(folder)
        try:
            with locked(folder):
                yield folder
        except FileNotFoundError:
            self.versions(name)  # raises an error that names what is there
            raise
        except OSError as error:
            raise explain(error, folder) from error

    def set_alias(self, name: str, alias: str, version: int | str) -> Move:
        """Point an alias at an existing version, given by number or alias. Returns the change.

        A change of ``stable`` can be undone by a rollback. Raises BadName, NotInStore, NotWritable.
        """
        if not ALIAS.fullmatch(alias):
            raise BadName(f"alias {alias!r}: expected a letter, then letters, digits, '.', '_', '-', 100 at most")
        self.find(name, version)
        with self.changing(name) as folder:
            number = self.find(name, version).version  # again, because it may have been removed
            aliases = read_aliases(folder)
            before = aliases.get(alias)
            if alias == STABLE and before not in (None, number):
                history = read_history(folder)
                stable = record_move(history.stable, before, number)
                write_history(folder, history.model_copy(update={"stable": stable}))
            if before != number:
                write_aliases(folder, {**aliases, alias: number})
        return Move(before, number)

    def write_signature(self, version: ModelVersion, content: bytes) -> None:
        """Write the signature of a version, in place of an old one. Raises NotWritable."""
        with self.changing(version.name) as folder:  # the temporary file must not lie in the version
            replace_synced(version.folder / SIGNATURE_FILE, content, hidden_in=folder)

    def publish(self, manifest: Manifest, files: Mapping[str, bytes]) -> ModelVersion:
        """Add the next version of a model: all of it, or nothing.

        ``files`` maps file names to contents; their digests go into the manifest. Raises BadName if a graph's file or
        the golden samples are missing, BadManifest if any output would pass the samples' tolerance or an output with
        probabilities holds none, NotWritable if this process may not write there, and OSError if the disk is full.
        """
        needed = {g.file for g in manifest.graphs.values()}
        needed |= {name for g in manifest.graphs.values() for name in g.external_data}
        needed |= {golden.file for golden in (manifest.golden, *manifest.graph_golden.values()) if golden}
        needed |= manifest.further_files
        for taken, what in ((MANIFEST_FILE, "the manifest"), (SIGNATURE_FILE, "the signature")):
            if taken in needed:
                raise BadName(f"{taken} is the name of {what}: rename the graph or its data")
        if needed != set(files):
            raise BadName(f"files of the version: expected {sorted(needed)}, got {sorted(files)}")
        described = {name: describe_bytes(files[name]) for name in sorted(files)}
        complete = manifest.model_copy(update={"files": described, "sluice": find_release()})
        Manifest.from_json(complete.to_json(), "the new manifest")
        for facts in filter(None, (complete.golden, *complete.graph_golden.values())):
            samples = GoldenSamples.from_bytes(files[facts.file])
            check_tolerance(facts, samples)
            if facts is complete.golden and complete.classes is not None:
                reason = find_no_probability(complete.classes, samples.outputs, facts.atol)
                if reason:
                    raise BadManifest(f"{complete.name}: {reason}")
        find_symbols(complete, files)
        self.sweep()
        folder = self.folder(manifest.name)
        try:
            with staged(folder) as temporary:
                for name, content in {**files, MANIFEST_FILE: complete.to_json()}.items():
                    write_synced(temporary / name, content)
                temporary.chmod(0o755)
                sync_folder(temporary)
                with locked_where_possible(folder):
                    return self._claim(manifest.name, folder, temporary)
        except OSError as error:
            if error.errno in FORBIDDEN:
                raise explain(error, folder) from error
            raise

    def sweep(self) -> list[Path]:
        """Remove what killed publishers left. Returns what was removed; see ``files/staging.py``."""
        try:
            folders = [path for path in self.root.iterdir() if NAME.fullmatch(path.name)]
        except OSError:  # there is no store yet, or it cannot be read
            return []
        return [path for folder in folders for path in sweep(folder)]

    def _claim(self, name: str, folder: Path, temporary: Path) -> ModelVersion:
        while True:  # without locks, other publishers may take the number, and only the rename tells
            # An entry with a number as its name takes that number, even if it is no version. An ONNX file beside the
            # versions may have served as version 1.
            names = [p.name for p in folder.iterdir() if not p.name.startswith(".")]
            taken = [int(n) if NUMBER.fullmatch(n) else 1 for n in names if NUMBER.fullmatch(n) or is_onnx(n)]
            number = max(*taken, read_history(folder).largest, 0) + 1
            try:
                os.rename(temporary, folder / str(number))
            except OSError:
                # A rename cannot replace a folder that is not empty: another publisher has just taken the number.
                if not (folder / str(number)).exists():
                    raise
                continue
            sync_folder(folder)
            return ModelVersion(name, number, folder / str(number), self._boundary, signers=self.signers)
