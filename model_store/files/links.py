"""What may be read for a model: what lies in the store's folder, and not what a symbolic link outside of it leads to.

Whoever may write into a store must not thereby choose which other files of the machine the server reads. Links inside
the store are fine: Kubernetes mounts its volumes with them.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from model_store.errors import BadLayout
from model_store.files.reading import read_regular


def show_name(name: str) -> str:
    """A name as the file system has it, for messages: what cannot be printed is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def tell_why(error: OSError) -> str:
    """Why the system could not read something, without the path, which is not for callers."""
    return error.strerror or type(error).__name__


@dataclass(frozen=True, slots=True)
class Boundary:
    """The folder ``root``, out of which no symbolic link may lead unless ``follow_links`` is true."""

    root: Path
    follow_links: bool = False

    def where(self, path: Path) -> str:
        """A path as messages have it: from the root on."""
        return show_name(os.path.relpath(path, self.root))

    def resolve(self, path: Path) -> Path:
        """The path without links. Raises BadLayout if nothing is there, or if it lies outside of the root."""
        try:
            real = os.path.realpath(path, strict=True)
        except FileNotFoundError:
            if os.path.islink(path):
                raise BadLayout(f"{self.where(path)} is a symbolic link to nothing: mend or remove it") from None
            raise BadLayout(f"{self.where(path)} is not there: copy it there") from None
        except OSError as error:  # links in a ring, a folder that may not be entered, a name that is too long
            raise BadLayout(f"{self.where(path)} cannot be read: {tell_why(error)}") from None
        if not self.follow_links and not Path(real).is_relative_to(os.path.realpath(self.root)):
            raise BadLayout(
                f"{self.where(path)} leads outside of the store by a symbolic link: copy what it points to into the "
                "store, or set SLUICE_FOLLOW_LINKS=true"
            )
        return Path(real)

    def read(self, path: Path, most_bytes: int | None = None) -> bytes:
        """As ``read_regular``. Raises BadLayout as ``resolve`` does, and if it cannot be read."""
        real = self.resolve(path)
        try:
            return read_regular(real, most_bytes)
        except OSError as error:
            raise BadLayout(f"{self.where(path)} cannot be read: {tell_why(error)}") from None
