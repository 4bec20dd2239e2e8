"""docs/reference/errors.md, from `service/errors.py` and the table of statuses."""

import re
from collections.abc import Iterator

from service import errors
from service.transport.status import STATUS
from tests.support.pages.markdown import as_code, join_page, make_table

_LINE = re.compile(r"^[│├└─ ]+ ([A-Z]\w+) +(\S.*)$", re.MULTILINE)


def write_errors() -> str:
    return join_page(
        "Errors",
        'An error is `{"error", "request_id"}` in JSON. `error` is a sentence: what was expected and what came. '
        "`request_id` is that of the request's header `X-Request-Id`, or a new one; the log of the server has it too. "
        "The text of a failure of the server is only in the log.",
        "429 and 503 have the header `Retry-After`: after so many seconds another try makes sense. Over gRPC the same "
        "errors have the codes of gRPC. Live streams have [codes of their own](../streams.md#errors-and-limits).",
        make_table(("status", "when", "`reason` in the metrics", "class"), sorted(_list_errors())),
        "The reason is a label of `sluice_rejected_total` ([metrics](metrics.md)). 499 is only in the metrics: the "
        "caller has gone.",
    )


def _list_errors() -> Iterator[tuple[str, str, str, str]]:
    assert errors.__doc__ is not None
    for name, text in _LINE.findall(errors.__doc__):
        kind = getattr(errors, name)
        if kind in STATUS:
            yield str(STATUS[kind]), text, as_code(kind.reason), as_code(name)
