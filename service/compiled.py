"""Whether the request path runs as compiled code. pyproject.toml lists its modules for mypyc."""

from collections.abc import Iterator
from pathlib import Path

_PACKAGE = Path(__file__).parent
_SUFFIX = ".so"


def is_compiled() -> bool:
    """Whether this process runs compiled code. Either all listed modules are compiled, or none."""
    from service.engine.execution import dispatcher

    return Path(dispatcher.__file__ or "").suffix == _SUFFIX


def find_stale(package: Path = _PACKAGE) -> Iterator[Path]:
    """Sources that have changed since they were compiled, so the old code would run.

    Only in a checkout: in an installed wheel the times of files say when pip wrote them.
    """
    if not (package.parent / "pyproject.toml").is_file():
        return
    for built in package.rglob(f"*{_SUFFIX}"):
        source = built.with_name(f"{built.name.partition('.')[0]}.py")
        if source.is_file() and source.stat().st_mtime > built.stat().st_mtime:
            yield source
