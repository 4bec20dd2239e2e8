"""Compiles the Python modules that a server loads, and no other: half of all modules of the image are never loaded.

Run by the environment's own Python. Without compiled modules each process takes three times as long to start, and so
does each health check.
"""

import importlib
import pkgutil
import py_compile
import sys
from pathlib import Path

PACKAGES = ("model_store", "service")
LEFT_OUT = "pyarrow"
"""`sluice score` needs it, and no server does."""


def load() -> None:
    """Import all modules of ours, but for those that need what the image leaves out."""
    for name in PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                if error.name != LEFT_OUT:
                    raise


def main() -> None:
    load()
    # BentoML loads the rest of itself when it makes its application.
    sys.modules["service.app"].make_application(RuntimeError)  # no worker is opened
    files = {Path(file) for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))}
    sources = sorted(file for file in files if file.suffix == ".py" and Path(sys.prefix) in file.parents)
    for source in sources:
        # Not checked by time stamp, because copying files may change it.
        py_compile.compile(str(source), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    print(f"Compiled the {len(sources)} modules that {' and '.join(PACKAGES)} load.")


if __name__ == "__main__":
    main()
