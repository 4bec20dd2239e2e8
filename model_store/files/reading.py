"""Reads files of a store: regular files only, and only what memory can hold.

A named pipe or a device may be where a file is expected, and reading one may never end.
"""

import errno
import os
import resource
import stat
from pathlib import Path

MOST_TEXT_BYTES = 16 << 20
"""The most bytes of a file that people write or that describes a model: a manifest, labels."""
MOST_CONFIG_BYTES = 1 << 20
"""The most bytes of a file that is also read to list a store: a configuration, aliases."""
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_CONTROL_GROUP_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def read_regular(path: Path, most_bytes: int | None = None) -> bytes:
    """The content of a file. ``most_bytes`` None: as much as memory can hold.

    Raises OSError if it is not a regular file or too large; ``strerror`` says what was expected.
    """
    _check_kind(os.stat(path))  # before it is opened: opening a device may have side effects
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb", buffering=0) as file:
        found = os.fstat(descriptor)
        _check_kind(found)
        most = find_memory() if most_bytes is None else most_bytes
        if found.st_size > most:
            raise OSError(errno.EFBIG, f"it has {found.st_size} bytes: expected at most {most}")
        return file.readall()


def is_there(path: Path) -> bool:
    """Whether something has this name, even a broken link. Raises OSError if the folder cannot be read."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error)) from None
    return True


def find_memory() -> int:
    """The bytes of memory that this process may use: the least of the machine, its control group and its own limit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    own_limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if own_limit != resource.RLIM_INFINITY:
        limits.append(own_limit)
    for path in _CONTROL_GROUP_FILES:
        try:
            limits.append(int(Path(path).read_text()))
        except (OSError, ValueError):  # there is no such group, or it has no limit
            continue
    return min(limits)


def _check_kind(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for test, name in _KINDS if test(found.st_mode)), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}: expected a file")
