"""The log of `sluice serve`: lines on standard error, each with the name of the process that wrote it."""

import datetime
import logging

import orjson


class JsonFormatter(logging.Formatter):
    """One line of JSON for each message, with its traceback."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps({name: _readable(text) for name, text in line.items()}).decode()


def _readable(text: str) -> str:
    """The text with lone surrogates escaped, which JSON does not allow."""
    return text.encode("utf-8", "backslashreplace").decode()


def configure_logs(process: str, level: str, form: str = "text") -> None:
    """``process`` is a name such as ``worker 1``; ``form`` is text or json.

    ``level`` is for our own loggers. Libraries log warnings and errors only.
    """
    handler = logging.StreamHandler()
    if form == "json":
        handler.setFormatter(JsonFormatter(process))
    else:
        line = f"%(asctime)s [%(levelname)s] [{process}] %(message)s"
        handler.setFormatter(logging.Formatter(line, "%Y-%m-%dT%H:%M:%S%z"))
    logging.basicConfig(handlers=[handler], force=True)
    logging.getLogger("sluice").setLevel(level.upper())
