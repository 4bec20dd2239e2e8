"""The log of `sluice serve`: lines on standard error that say which of its processes writes."""

import logging


def configure_logs(process: str, level: str) -> None:
    """``process`` such as ``worker 1``; ``level`` as in the settings, for what is ours. Libraries warn, no more."""
    logging.basicConfig(
        format=f"%(asctime)s [%(levelname)s] [{process}] %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z", force=True
    )
    logging.getLogger("sluice").setLevel(level.upper())
