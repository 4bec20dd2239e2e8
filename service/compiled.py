"""Whether the path of a request runs compiled: the modules that pyproject.toml lists for mypyc, or their source."""

from collections.abc import Iterator
from pathlib import Path

_PACKAGE = Path(__file__).parent
_SUFFIX = ".so"


def is_compiled() -> bool:
    """Whether this process takes requests by compiled code; all of it was compiled together, or none."""
    from service.engine.execution import dispatcher

    return Path(dispatcher.__file__ or "").suffix == _SUFFIX


def find_stale(package: Path = _PACKAGE) -> Iterator[Path]:
    """Sources of a checkout that are newer than what was compiled of them, and are not what runs.

    Not those of an installed wheel: there the times say when pip wrote the files.
    """
    if not (package.parent / "pyproject.toml").is_file():
        return
    for built in package.rglob(f"*{_SUFFIX}"):
        source = built.with_name(f"{built.name.partition('.')[0]}.py")
        if source.is_file() and source.stat().st_mtime > built.stat().st_mtime:
            yield source
