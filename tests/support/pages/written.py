"""The pages of docs/ that are written from the sources, by their paths in docs/."""

from collections.abc import Callable, Mapping
from functools import partial

from tests.support.pages import references
from tests.support.pages.commands import write_commands
from tests.support.pages.errors import write_errors
from tests.support.pages.metrics import write_metrics
from tests.support.pages.routes import write_routes
from tests.support.pages.settings import write_settings

WRITTEN: Mapping[str, Callable[[], str]] = {
    **{page.file: partial(references.write, page) for page in references.PAGES},
    "reference/settings.md": write_settings,
    "reference/routes.md": write_routes,
    "reference/errors.md": write_errors,
    "reference/metrics.md": write_metrics,
    "reference/commands.md": write_commands,
}
