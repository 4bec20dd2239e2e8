"""All kinds, by theme."""

from importlib import import_module

from tests.support.kinds.case import Kind

_THEMES = "attention calling control detection forms modes numbers precision recurrent sound tables vision writes"

KINDS: list[Kind] = [
    kind for theme in _THEMES.split() for kind in import_module(f"tests.support.kinds.models.{theme}").KINDS
]
