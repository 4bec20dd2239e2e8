"""Limits what the server reads to the store's folder: symbolic links must not lead out of it.

Otherwise, anyone who may write into a store could make the server read other files of the machine. Links inside the
store are allowed; Kubernetes mounts its volumes with them.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from model_store.errors import BadLayout, escape
from model_store.files.reading import read_regular


def tell_why(error: OSError) -> str:
    """Why a file could not be read, without its path, which callers must not see."""
    return error.strerror or type(error).__name__


@dataclass(frozen=True, slots=True)
class Boundary:
    """The folder ``root``. No symbolic link may lead out of it unless ``follow_links`` is true."""

    root: Path
    follow_links: bool = False

    def where(self, path: Path) -> str:
        """A path for messages, relative to the root."""
        return escape(os.path.relpath(path, self.root))

    def resolve(self, path: Path) -> Path:
        """The path without links below the root. Raises BadLayout if nothing is there, or if it leads outside."""
        if self._has_no_links(path):
            return path
        try:
            real = os.path.realpath(path, strict=True)
        except FileNotFoundError:
            if os.path.islink(path):
                raise BadLayout(f"{self.where(path)} is a symbolic link to nothing: fix or remove it") from None
            raise BadLayout(f"{self.where(path)} is not there: copy it there") from None
        except OSError as error:  # a ring of links, a folder without permission, a name that is too long
            raise BadLayout(f"{self.where(path)} cannot be read: {tell_why(error)}") from None
        if not self.follow_links and not Path(real).is_relative_to(os.path.realpath(self.root)):
            raise BadLayout(
                f"{self.where(path)} leads outside of the store by a symbolic link: copy what it points to into the "
                "store, or set SLUICE_FOLLOW_LINKS=true"
            )
        return Path(real)

    def _has_no_links(self, path: Path) -> bool:
        """Whether the path exists below the root, and has no link after the root.

        The path of the root itself is not checked: KServe passes images by a link through /proc/PID/root, which leads
        elsewhere when it is resolved.
        """
        if ".." in path.parts or not path.is_relative_to(self.root):
            return False
        below = [path, *path.parents][: len(path.parts) - len(self.root.parts)]
        return not any(map(os.path.islink, below)) and os.path.exists(path)

    def read(self, path: Path, most_bytes: int | None = None) -> bytes:
        """As ``read_regular``, within the boundary. Raises BadLayout as ``resolve``, and if the file cannot be read."""
        real = self.resolve(path)
        try:
            return read_regular(real, most_bytes)
        except OSError as error:
            raise BadLayout(f"{self.where(path)} cannot be read: {tell_why(error)}") from None
