"""All actions of ``sluice models``, in the order in which ``--help`` shows them.

Each module has the arguments and run functions of one action or a few. Optional dependencies are imported where they
are used, so that ``--help`` works without them.
"""

from collections.abc import Mapping

from model_store.commands import (
    comparison,
    copies,
    facts,
    inventory,
    migration,
    moves,
    removal,
    rollouts,
    signatures,
    verification,
)
from model_store.commands.action import Action

ACTIONS: Mapping[str, Action] = {
    "list": Action(
        inventory.add_arguments,
        inventory.run,
        "list the models and what in the store cannot be served",
    ),
    "show": Action(
        facts.add_arguments,
        facts.run,
        "show one version: quality, tensors, shared batches",
        "It says what the version is for, how good it is, its tensors, and whether requests share batches.",
    ),
    "diff": Action(
        comparison.add_arguments,
        comparison.run,
        "show what differs between two versions",
        "It compares quality, files, tensors, operators, golden answers and manifests. Golden answers are compared as "
        "they are stored if both store the same inputs; else the second version runs on the inputs of the first.",
    ),
    "verify": Action(
        verification.add_arguments,
        verification.run,
        "check files against their digests",
        "It reads every file of one version, of all versions of a model, or of the whole store. With --key each must "
        "also have a signature that counts.",
    ),
    "sign": Action(
        signatures.add_arguments,
        signatures.run,
        "sign a version for servers with SLUICE_SIGNED_BY",
        "It checks the files of the version and writes model.sig beside them, a signature as that of OpenSSF's "
        "model-signing. Nothing goes over the network.",
    ),
    "promote": Action(
        moves.add_promote_arguments,
        moves.run_promote,
        "make a version the one that answers",
        "It points the alias stable at the version after a check of its files, and ends its trial.",
    ),
    "rollback": Action(
        moves.add_rollback_arguments,
        moves.run_rollback,
        "go back to the version before the last promotion",
        "It points the alias stable back. Without an earlier promotion that is the next older version.",
    ),
    "alias": Action(
        moves.add_alias_arguments,
        moves.run_alias,
        "list, set or remove names of versions",
        "Requests may name an alias in place of a number.",
    ),
    "canary": Action(
        rollouts.add_canary_arguments,
        rollouts.run_canary,
        "let a version answer a part of the requests",
        "It answers requests that name no version, and goes back by itself if it is worse than the stable version by "
        "more than the limits. `sluice models promote` makes it the stable one.",
    ),
    "shadow": Action(
        rollouts.add_shadow_arguments,
        rollouts.run_shadow,
        "send a version copies of requests, and compare",
        "Its outputs are compared with those that were sent, and counted. Nobody gets them.",
    ),
    "remove": Action(
        removal.add_remove_arguments,
        removal.run_remove,
        "delete versions",
        "It refuses those that an alias, a canary, a shadow or a pipeline names. Numbers are not used again.",
    ),
    "gc": Action(
        removal.add_gc_arguments,
        removal.run_gc,
        "delete old versions that nothing names",
        "It keeps the newest ones, those that an alias, a canary, a shadow or a pipeline names, the one to which a "
        "rollback would go, and damaged ones. It also deletes what killed publishers left.",
    ),
    "migrate": Action(
        migration.add_arguments,
        migration.run,
        "write manifests of older schemas in that of today",
        "It is not needed: older ones are read for ever. Weights and golden samples are not touched. A signed version "
        "stays as it is, because the signature covers its manifest.",
    ),
    "pull": Action(
        copies.add_pull_arguments,
        copies.run_pull,
        "copy versions from a bucket, web server or registry",
        "Versions keep their numbers, and a number that is taken by another version is refused. What is here is "
        "checked against its digests, and damaged files are fetched again. A model comes with its aliases.",
        needs_store=False,
    ),
    "push": Action(
        copies.add_push_arguments,
        copies.run_push,
        "copy versions to a bucket or registry",
        "Versions keep their numbers, and a number that is taken by another version is refused. Each is checked first. "
        "The aliases of a whole model become those of this store; nothing else is removed there.",
    ),
}
