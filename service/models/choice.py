"""Decides which versions of a model are in service, and which of them answers a request that names none. Pure.

Rules
- In service are the versions that the policy names, those with an alias, those that callers have loaded, and those on
  trial (canary or shadow); but none that callers have unloaded.
- The default is the version of the policy ``pinned``; else that of the alias ``stable``; else the one that a caller has
  loaded; else the newest that the policy names.
- A version on trial is the default only if one of these names it. It does not count among the latest n.
- A version that fails its checks is left out, and an older one takes its place. A pinned one has no substitute.
- What callers have loaded and unloaded holds until a newer version appears.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

STABLE = "stable"
"""The alias of the version that answers by default."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Which versions serve: the ``latest`` n, those ``listed``, the one ``pinned`` (number or alias), else all."""

    latest: int | None = None
    listed: tuple[int, ...] | None = None
    pinned: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Policy":
        """Parse a text that the settings accept: latest:N, all, versions such as 1+3, or pinned:V."""
        kind, _, rest = text.partition(":")
        match kind.lower():
            case "all":
                return cls()
            case "latest":
                return cls(latest=int(rest))
            case "pinned":
                return cls(pinned=rest)
        return cls(listed=tuple(sorted({int(number) for number in text.split("+")})))


@dataclass(frozen=True, slots=True)
class ByHand:
    """What callers have loaded and unloaded. ``known`` are the versions that the store had then."""

    loaded: int | None = None
    unloaded: frozenset[int] = frozenset()
    known: frozenset[int] = frozenset()

    def load(self, number: int, known: Iterable[int]) -> "ByHand":
        return ByHand(number, self.unloaded - {number}, frozenset(known))

    def unload(self, numbers: Collection[int], known: Iterable[int]) -> "ByHand":
        loaded = None if self.loaded in numbers else self.loaded
        return ByHand(loaded, self.unloaded | frozenset(numbers), frozenset(known))

    def after(self, numbers: Collection[int]) -> "ByHand":
        """What still holds when the store has the versions ``numbers``: nothing if the newest of them was not known.

        A version that was removed is no longer known.
        """
        if numbers and max(numbers) not in self.known:
            return ByHand()
        return replace(self, known=self.known & frozenset(numbers))


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a model. ``numbers`` and ``aliases`` are those of the store, the oldest version first."""

    numbers: Sequence[int]
    aliases: Mapping[str, int]
    policy: Policy
    by_hand: ByHand = ByHand()
    tried: Collection[int] = ()
    """Versions on trial: canary and shadow."""
    held: Mapping[str, int] = field(default_factory=dict)
    """The versions that the aliases name for callers now. An alias keeps its version if the new one fails."""


NOTHING_KNOWN = Facts((), {}, Policy())


class Choice(NamedTuple):
    """``default`` answers requests that name no version; None: none can. ``wanted``: the versions to have in service,
    the default first, then the newest first."""

    default: int | None
    wanted: tuple[int, ...]


def choose(facts: Facts, failed: Collection[int] = ()) -> Choice:
    """The versions that should be in service when those in ``failed`` cannot be."""
    usable = {number for number in facts.numbers if number not in failed and number not in facts.by_hand.unloaded}
    aliases = {
        alias: facts.held[alias] if number in failed and facts.held.get(alias) in usable else number
        for alias, number in facts.aliases.items()
    }
    by_policy = set(_by_policy(facts, aliases, failed)) & usable
    wanted = by_policy | ({*aliases.values(), *facts.tried} & usable)
    if facts.by_hand.loaded in usable:
        wanted.add(facts.by_hand.loaded)
    default = _find_default(facts, aliases, usable, by_policy, wanted)
    if default is None:
        return Choice(None, tuple(sorted(wanted, reverse=True)))
    return Choice(default, (default, *sorted(wanted - {default}, reverse=True)))


def settle_aliases(facts: Facts, in_service: Collection[int]) -> dict[str, int]:
    """The version of each alias for callers: the store's, but the previous one until the new one is in service."""
    return {
        alias: facts.held[alias] if number not in in_service and facts.held.get(alias) in in_service else number
        for alias, number in facts.aliases.items()
    }


def _by_policy(facts: Facts, aliases: Mapping[str, int], failed: Collection[int]) -> Iterator[int]:
    """The versions that the policy names. One that was loaded or unloaded by hand counts among the latest n."""
    policy, by_hand = facts.policy, facts.by_hand
    if policy.pinned is not None:
        number = _resolve(policy.pinned, aliases)
        yield from () if number is None else (number,)
    elif policy.listed is not None:
        yield from policy.listed
    elif policy.latest is None:
        yield from facts.numbers
    else:
        places = policy.latest
        if by_hand.loaded is not None and by_hand.loaded not in failed:
            yield by_hand.loaded
            places -= 1
        for number in reversed(facts.numbers):
            if places > 0 and number not in failed and number not in facts.tried and number != by_hand.loaded:
                yield number
                places -= 1


def _find_default(
    facts: Facts, aliases: Mapping[str, int], usable: set[int], by_policy: set[int], wanted: set[int]
) -> int | None:
    if facts.policy.pinned is not None:
        return max(by_policy, default=None)
    stable = aliases.get(STABLE)
    if stable is not None:
        older = (number for number in usable if number < stable and number not in facts.tried)
        return stable if stable in usable else max(older, default=None)
    if facts.by_hand.loaded in wanted:
        return facts.by_hand.loaded
    others = by_policy or wanted
    return max(others - set(facts.tried) or others, default=None)


def _resolve(version: str, aliases: Mapping[str, int]) -> int | None:
    """The number of a version, given as a number or an alias; None if there is no such alias."""
    return int(version) if version.isdigit() else aliases.get(version)
