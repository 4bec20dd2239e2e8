"""Decides which versions are evicted for others, so that the versions of a worker stay within a memory limit. Pure.

A claim is the memory of one version. It waits for room, loads, serves, and leaves until its memory is free again.

Rules
1. A load begins only if it fits beside everything that loads, serves and leaves. So loads together never exceed the
   limit.
2. Versions are evicted only if those that leave already do not free enough. The least recently used one goes first;
   one that works on requests goes after all that do not.
3. No more versions are evicted than necessary. One that was loaded for a request stays until the request has reached
   it: else requests could evict each other's models for ever.
4. If a version takes more memory than expected, others are evicted for the difference.
5. A claim that cannot be met by waiting is refused, with the figures.

The files of a version do not tell how much memory it takes. So this is measured: the growth of the process while the
version loads alone. For eight models with weights of 1 to 134 MB (two cores, ONNX Runtime 1.32) it was 1.0 to 1.7
times the weights if these have 17 MB or more, and 2.2 and 3.0 times if the model also runs on all cores. For eight
reference models with 1.7 MB of files or less it was up to 85 MB, because ONNX Runtime keeps the memory of the largest
batch. Until the first load has ended, the bytes of the files count. Not counted are the peak during a load, up to five
times the files, and what runs on several lanes add.
"""

import enum
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

_MOST_SHOWN = 5


class Stage(enum.Enum):
    WAITING = "waiting"
    LOADING = "loading"
    SERVING = "serving"
    LEAVING = "leaving"


@dataclass(eq=False, slots=True)
class Claim:
    """``size_bytes`` is the memory that the version takes, or is expected to take.

    ``evicts``: others may be evicted for it. ``waits``: it waits, and is not refused, while room may become free.
    ``spares``: the model whose versions are not evicted for it. ``is_kept``: it is never evicted.
    """

    name: str
    version: int
    size_bytes: int
    evicts: bool = True
    waits: bool = True
    spares: str = ""
    is_kept: bool = False
    stage: Stage = Stage.WAITING


class Candidate(NamedTuple):
    """A serving version that can be evicted. ``used_at`` is when it was last looked up, in seconds."""

    claim: Claim
    used_at: float
    in_use: bool = False
    """Whether it works on requests."""
    is_new: bool = False
    """Whether it was loaded for a request that has not reached it yet: it stays until then."""


class Refusal(NamedTuple):
    claim: Claim
    reason: str


class Plan(NamedTuple):
    """The claims that leave, begin to load, and are refused now. The budget has recorded this already."""

    leave: Sequence[Claim]
    begin: Sequence[Claim]
    refuse: Sequence[Refusal]


class MemoryBudget:
    """The claims of one worker. Call ``plan`` after each change of a claim."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.claims: list[Claim] = []
        """In the order in which they were made."""

    @property
    def taken_bytes(self) -> int:
        """The memory of all that load, serve and leave."""
        return self._sum(Stage.LOADING, Stage.SERVING, Stage.LEAVING)

    def free(self, claim: Claim) -> None:
        """Remove a claim: its memory is free again, or it no longer waits."""
        self.claims.remove(claim)

    def plan(self, candidates: Iterable[Candidate]) -> Plan:
        """Decide what to do now. ``candidates`` are the serving versions that may be evicted."""
        serving = sorted(candidates, key=lambda each: (each.in_use, each.used_at))
        movable = {each.claim for each in serving}
        rest = [each for each in serving if not each.is_new]
        free_now = self.limit_bytes - self.taken_bytes
        free_later = free_now + self._sum(Stage.LEAVING)
        leave = list(_choose(-free_later, rest) or [each.claim for each in rest]) if free_later < 0 else []
        free_later += _add_up(leave)
        begin, refuse = [], []
        for claim in [each for each in self.claims if each.stage is Stage.WAITING]:
            able = [each for each in rest if claim.evicts and each.claim not in leave]
            chosen = _choose(claim.size_bytes - free_later, [e for e in able if e.claim.name != claim.spares])
            if chosen is None:
                if not claim.waits or claim.size_bytes > self.limit_bytes - self._find_fixed(movable):
                    refuse.append(Refusal(claim, self._explain(claim, movable)))
                continue
            leave += chosen
            free_later += _add_up(chosen) - claim.size_bytes
            if claim.size_bytes <= free_now:
                free_now -= claim.size_bytes
                begin.append(claim)
        for claim in leave:
            claim.stage = Stage.LEAVING
        for claim in begin:
            claim.stage = Stage.LOADING
        for refused in refuse:
            self.claims.remove(refused.claim)
        return Plan(leave, begin, refuse)

    def _find_fixed(self, movable: Collection[Claim]) -> int:
        """The bytes that no waiting frees."""
        return _add_up(each for each in self.claims if _is_fixed(each, movable))

    def _explain(self, claim: Claim, movable: Collection[Claim]) -> str:
        """Why there is no room."""
        asked, most = f"it takes {show(claim.size_bytes)}", f"{show(self.limit_bytes)} (SLUICE_MODEL_MEMORY_BYTES)"
        if claim.size_bytes > self.limit_bytes:
            return f"{asked}, and all models of a worker together may take {most}"
        staying = [
            each
            for each in self.claims
            if _is_fixed(each, movable)
            or (each.stage is Stage.SERVING and (each.name == claim.spares or not claim.evicts))
            or each.stage is Stage.LOADING
        ]
        staying.sort(key=lambda each: -each.size_bytes)
        names = [f"{each.name} version {each.version} {show(each.size_bytes)}" for each in staying[:_MOST_SHOWN]]
        others = f" and {len(staying) - len(names)} more" if len(staying) > len(names) else ""
        return (
            f"{asked}, and of {most} for all models of a worker {show(_add_up(staying))} cannot be made free now: "
            f"{', '.join(names)}{others}"
        )

    def _sum(self, *stages: Stage) -> int:
        return _add_up(each for each in self.claims if each.stage in stages)


def _is_fixed(claim: Claim, movable: Collection[Claim]) -> bool:
    """Whether the claim keeps its memory, however long one waits."""
    if claim.stage is Stage.LOADING:
        return claim.is_kept
    return claim.stage is Stage.SERVING and claim not in movable


def _choose(need_bytes: int, candidates: Sequence[Candidate]) -> Sequence[Claim] | None:
    """The first claims that free this many bytes together, without those that later ones make unnecessary.

    None if all of them do not free enough.
    """
    chosen: list[Claim] = []
    for candidate in candidates:
        if need_bytes <= 0:
            break
        chosen.append(candidate.claim)
        need_bytes -= candidate.claim.size_bytes
    if need_bytes > 0:
        return None
    for claim in reversed(chosen):
        if need_bytes + claim.size_bytes <= 0:
            chosen.remove(claim)
            need_bytes += claim.size_bytes
    return chosen


def _add_up(claims: Iterable[Claim]) -> int:
    return sum(claim.size_bytes for claim in claims)


def show(size_bytes: int) -> str:
    """For people, such as 85.2 MiB."""
    return f"{size_bytes / (1 << 20):.1f} MiB"
