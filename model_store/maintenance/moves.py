"""Moves of aliases: promotion, rollback, removal."""

from model_store.errors import NotInStore, StillUsed
from model_store.files.aliases import (
    STABLE,
    cut_history,
    find_alias,
    find_rollback,
    read_aliases,
    read_history,
    write_aliases,
    write_history,
)
from model_store.maintenance.rollouts import choose_promoted, without
from model_store.maintenance.uses import find_pipelines
from model_store.rollout import read_rollout, write_rollout
from model_store.store import Move, Store


def promote(store: Store, name: str, version: int | str | None = None) -> Move:
    """Check the files of a version, and point ``stable`` at it. Its trial ends.

    The default is the version of the canary, or else the newest. Raises StillUsed for a canary that was rolled back,
    NotInStore, IntegrityError or another StoreError if the version is damaged, NotWritable.
    """
    store.versions(name)
    chosen = store.find(name, choose_promoted(store, name) if version is None else version)
    chosen.check()
    move = store.set_alias(name, STABLE, chosen.version)
    with store.changing(name) as folder:
        write_rollout(folder, without(read_rollout(folder), chosen.version))
    return move


def roll_back(store: Store, name: str, to: int | str | None = None) -> Move:
    """Point ``stable`` at the version that it named before, or at the version ``to``.

    Without a history it goes to the next older usable version. If ``stable`` is not set, it counts as the newest.
    Raises NotInStore if there is nothing to go back to, NotWritable.
    """
    store.versions(name)
    with store.changing(name) as folder:
        usable = [version.version for version in store.versions(name)]
        aliases, history = read_aliases(folder), read_history(folder)
        before = aliases.get(STABLE)
        current = usable[-1] if before is None else before
        if to is not None:
            chosen = store.find(name, to).version
            target: int | None = chosen
            left = history.stable if chosen == before else cut_history(history.stable, chosen)
        else:
            target, left = find_rollback(history.stable, current, usable)
        if target is None:
            raise NotInStore(
                f"{name!r} has nothing to go back to: version {current} is in use, {STABLE} named no other one before, "
                f"and there is no older version; `sluice models rollback {name} --to VERSION` goes to another one"
            )
        write_aliases(folder, {**aliases, STABLE: target})
        write_history(folder, history.model_copy(update={"stable": left}))
    return Move(before, target)


def remove_alias(store: Store, name: str, alias: str, *, force: bool = False) -> Move:
    """Remove an alias. Raises BadName, NotInStore, NotWritable; StillUsed if a pipeline names it, unless ``force``."""
    store.versions(name)
    users = sorted({step.pipeline for step in find_pipelines(store).get(name, ()) if step.version == alias})
    with store.changing(name) as folder:
        aliases = read_aliases(folder)
        before = find_alias(name, aliases, alias)
        if users and not force:
            raise StillUsed(
                f"the alias {alias!r} of {name!r} is a step of {', '.join(users)}: remove that first, or give --force"
            )
        del aliases[alias]
        write_aliases(folder, aliases)
    return Move(before, None)
