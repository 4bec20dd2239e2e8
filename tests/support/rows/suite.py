"""All cases, by theme."""

from importlib import import_module

from tests.support.rows.case import Case

_THEMES = {
    "independent": "attention contrib control indices layouts operators series tables traps vision",
    "mixing": (
        "contrib control data indices joins layouts lengths networks parameters places reductions sizes tables traps"
    ),
}

CASES: list[Case] = [
    case
    for truth, themes in _THEMES.items()
    for theme in themes.split()
    for case in import_module(f"tests.support.rows.{truth}.{theme}").CASES
]
INDEPENDENT = [case for case in CASES if case.truth == "independent"]
MIXING = [case for case in CASES if case.truth == "mixing"]
