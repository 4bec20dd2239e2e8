"""Takes out of an environment what no server of Sluice loads, so that the image is smaller.

`python3 prune.py ENVIRONMENT`. The tables below are all that it removes; licences stay. `tests/deploy/` starts what is
left and asks every route and every reference model, and checks that no module of `service` imports what is removed.
"""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

PACKAGES = {
    "aiohttp-asgi-connector": "BentoML's client",
    "aiosqlite": "BentoML's queue of tasks",
    "click-option-group": "BentoML's command",
    "filelock": "only huggingface-hub needs it",
    "flatbuffers": "ONNX Runtime's tools for mobile devices",
    "hf-xet": "only huggingface-hub needs it",
    "httpcore2": "only huggingface-hub needs it",
    "httpx2": "only huggingface-hub needs it",
    "huggingface-hub": "models come from the store, tokenizers from its files",
    "markdown-it-py": "rich needs it for Markdown only",
    "mdurl": "only markdown-it-py needs it",
    "pycparser": "cffi needs it to compile only",
    "rich-toolkit": "BentoML's command",
    "tomli-w": "BentoML's command",
    "tqdm": "only huggingface-hub needs it",
    "truststore": "only huggingface-hub needs it",
}
"""Dependencies of dependencies that nothing here imports, and why they are not needed."""

FILES = {
    "**/__pycache__": "compile.py makes those that are used",
    "**/tests": "tests",
    "**/test": "tests",
    "**/*.[ach]": "sources and static libraries for C",
    "**/*.cc": "sources for C++",
    "**/*.cpp": "sources for C++",
    "**/*.hpp": "sources for C++",
    "**/*.pyx": "sources for Cython",
    "**/*.px[di]": "sources for Cython",
    "**/*.pyi": "types for editors",
    "PIL/_avif*": "AVIF is not a format that the service reads",
    "pillow.libs/libavif*": "AVIF is not a format that the service reads",
    "bentoml/_internal/server/static_content/*": "BentoML's page; the service has its own",
    "numpy/_core/_simd.*": "tests",
    "numpy/_core/_*_tests.*": "tests",
    "numpy/f2py": "wraps Fortran",
    "onnx/backend": "tests of other runtimes",
    "onnx/reference": "runs graphs without ONNX Runtime",
    "onnxruntime/backend": "runs graphs in the tests of onnx",
    "onnxruntime/capi/libonnxruntime.so.*": "the same library as in the Python module, for programs in C",
    "onnxruntime/datasets": "examples",
    "onnxruntime/quantization": "changes models before they are served",
    "onnxruntime/tools": "changes models before they are served",
    "onnxruntime/transformers": "changes models before they are served",
    "pygments/lexers/[!_p]*": "rich colours Python only",
    "pygments/lexers/p[!y]*": "rich colours Python only",
}
"""Patterns below site-packages, and what they match."""


def main(environment: Path) -> None:
    [site] = environment.glob("lib/python3*/site-packages")
    before = _count_bytes(environment)
    for distribution in find_unused(site):
        _uninstall(distribution, site)
    for path in find_files(site):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    _remove_commands(environment / "bin")
    _strip(site)
    print(
        f"{environment}: {before / 1e6:.0f} MB, and {_count_bytes(environment) / 1e6:.0f} MB without what is not used"
    )


def find_unused(site: Path) -> list[Distribution]:
    """The installed packages that PACKAGES names."""
    found = {normalise(each.metadata["Name"] or ""): each for each in distributions(path=[str(site)])}
    return [found[name] for name in PACKAGES if name in found]


def find_files(site: Path) -> list[Path]:
    """What FILES matches, without what lies in a folder that is matched too, and without metadata."""
    found = {path for pattern in FILES for path in site.glob(pattern)}
    return [path for path in found if found.isdisjoint(path.parents) and ".dist-info" not in str(path)]


def normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _uninstall(distribution: Distribution, site: Path) -> None:
    folders: set[Path] = set()
    for file in distribution.files or []:
        path = Path(os.path.normpath(site / file))
        path.unlink(missing_ok=True)
        folders.update(each for each in path.parents if site in each.parents)
    for folder in sorted(folders, key=lambda each: len(each.parts), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _remove_commands(folder: Path) -> None:
    """All but Python and ours: the commands of libraries are of no use to a server."""
    for path in folder.iterdir():
        if not path.name.startswith("python") and path.name != "sluice":
            path.unlink()


def _strip(site: Path) -> None:
    """Take the symbols for debuggers out of libraries, which is a quarter of what all of them weigh.

    Libraries that were patched to find their own copies of others stay as they are: `strip` makes them unloadable.
    """
    tools = [shutil.which(name) for name in ("strip", "readelf")]
    if None in tools:
        print("No `strip` or `readelf` here: libraries keep their symbols for debuggers, about 65 MB.")
        return
    for path in site.rglob("*.so*"):
        described = subprocess.run(["readelf", "--dynamic", path], capture_output=True, text=True, check=True).stdout  # noqa: S603, S607
        if not re.search(r"\((RPATH|RUNPATH)\)", described) and not path.parent.name.endswith(".libs"):
            subprocess.run(["strip", "--strip-unneeded", path], check=True)  # noqa: S603, S607


def _count_bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
