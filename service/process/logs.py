"""The log of `sluice serve`: lines on standard error, each with the process that wrote it."""

import logging


def configure_logs(process: str, level: str) -> None:
    """``process`` is a name such as ``worker 1``; ``level`` is for our loggers. Libraries log warnings only."""
    logging.basicConfig(
        format=f"%(asctime)s [%(levelname)s] [{process}] %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z", force=True
    )
    logging.getLogger("sluice").setLevel(level.upper())
