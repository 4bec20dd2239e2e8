"""Moves of aliases: promotion, rollback, removal."""

from model_store.errors import NotInStore, StillUsed
from model_store.files.aliases import STABLE, cut, pop, read_aliases, read_history, write_aliases, write_history
from model_store.maintenance.rollouts import choose_promoted, without
from model_store.maintenance.uses import find_pipelines
from model_store.rollout import read_rollout, write_rollout
from model_store.store import Move, Store


def promote(store: Store, name: str, version: int | str | None = None) -> Move:
    """Point ``stable`` at a version, after its files were checked against their digests. Its trial ends.

    By default it is that of the canary, or else the newest. Raises StillUsed for a canary that went back, NotInStore,
    IntegrityError or another StoreError if the version is damaged, NotWritable.
    """
    store.versions(name)
    chosen = store.find(name, choose_promoted(store, name) if version is None else version)
    if chosen.is_plain:
        chosen.read_plain()
    else:
        chosen.verify()
    move = store.set_alias(name, STABLE, chosen.version)
    with store.changing(name) as folder:
        write_rollout(folder, without(read_rollout(folder), chosen.version))
    return move


def roll_back(store: Store, name: str, to: int | str | None = None) -> Move:
    """Point ``stable`` at the version that it named before, or at the version ``to``.

    Without a history it goes to the next older version that can be used; without ``stable``, from the newest. Raises
    NotInStore if there is nothing to go back to, NotWritable.
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
            left = history.stable if chosen == before else cut(history.stable, chosen)
        else:
            target, left = pop(history.stable, current, usable)
        if target is None:
            raise NotInStore(
                f"{name!r} has nothing to go back to: version {current} is in use, {STABLE} named no other one before, "
                f"and there is no older version; `sluice models rollback {name} --to VERSION` goes to another one"
            )
        write_aliases(folder, {**aliases, STABLE: target})
        write_history(folder, history.model_copy(update={"stable": left}))
    return Move(before, target)


def remove_alias(store: Store, name: str, alias: str, *, force: bool = False) -> Move:
    """Remove an alias. Raises BadName, NotInStore if it is not there, StillUsed if a pipeline names it and it is not
    forced, NotWritable."""
    store.versions(name)
    users = sorted({step.pipeline for step in find_pipelines(store).get(name, ()) if step.version == alias})
    with store.changing(name) as folder:
        aliases = read_aliases(folder)
        if alias not in aliases:
            raise NotInStore(f"no alias {alias!r} of {name!r}: there are {', '.join(aliases) or 'none'}")
        if users and not force:
            raise StillUsed(
                f"the alias {alias!r} of {name!r} is a step of {', '.join(users)}: remove that first, or give --force"
            )
        before = aliases.pop(alias)
        write_aliases(folder, aliases)
    return Move(before, None)
