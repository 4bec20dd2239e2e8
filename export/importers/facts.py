"""The facts about a model to import, and the origin of each.

Facts come in layers: the options of the command, ``model.toml``, the source itself. The first layer that has a fact
wins. A fact that no layer has is measured on the graph, guessed, or asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from export.errors import MissingFacts


class Fact(NamedTuple):
    """A value and its origin in words, such as ``config.json: id2label``."""

    value: Any
    origin: str
    is_guess: bool = False


Facts = Mapping[str, Fact]
"""Facts by the path of their field in ``options.Options``, such as ``picture.mean``."""


def value_of(facts: Facts, path: str) -> Any:
    """The value of a fact; None if it is unknown."""
    return facts[path].value if path in facts else None


@dataclass
class Ledger:
    """The facts of one import, while they are gathered."""

    facts: dict[str, Fact]
    missing: list[str] = field(default_factory=list)

    @classmethod
    def merge(cls, layers: Sequence[Facts]) -> "Ledger":
        """The facts of all layers; the first layer wins."""
        merged: dict[str, Fact] = {}
        for layer in reversed(layers):
            merged.update(layer)
        return cls(merged)

    def get(self, path: str) -> Any:
        """The value of a fact; None if it is unknown."""
        return value_of(self.facts, path)

    def origin(self, path: str) -> str:
        return self.facts[path].origin

    def add(self, path: str, value: Any, origin: str) -> Any:
        """Add a fact that follows from the graph, unless it is known. Returns the value that counts."""
        return self.facts.setdefault(path, Fact(value, origin)).value

    def replace(self, path: str, value: Any) -> None:
        """Change the value of a fact and keep its origin, for example from a file name to the file's content."""
        self.facts[path] = self.facts[path]._replace(value=value)

    def guess(self, path: str, value: Any, why: str) -> Any:
        """Add a guess, unless the fact is known. Returns the value that counts."""
        return self.facts.setdefault(path, Fact(value, why, True)).value

    def ask(self, text: str) -> None:
        """Note a missing fact. ``text`` names it, and the option that supplies it."""
        self.missing.append(text)

    def check_complete(self, name: str, notes: Sequence[str] = ()) -> None:
        """Raise MissingFacts if a fact is missing. ``notes`` are remarks that may explain why."""
        remarks = "".join(f"\nnote: {note}" for note in notes)
        if len(self.missing) == 1:
            raise MissingFacts(f"{name}: {self.missing[0]}{remarks}")
        if self.missing:
            listed = "\n- ".join(self.missing)
            raise MissingFacts(f"{name}: {len(self.missing)} things are not known:\n- {listed}{remarks}")
