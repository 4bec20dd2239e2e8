"""All actions of ``sluice models``, in the order in which ``--help`` shows them.

A module of this package has the arguments and the run function of one action or of a few. What needs an optional
dependency imports it where it runs, so that ``--help`` works without.
"""

from collections.abc import Mapping

from model_store.commands import copies, facts, inventory, verification
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
    "verify": Action(
        verification.add_arguments,
        verification.run,
        "check files against their digests",
        "It reads every file of one version, of all versions of a model, or of the whole store.",
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
