"""All actions of ``sluice models``, in the order in which ``--help`` shows them.

A module of this package has the arguments and the run function of one action or of a few. What needs an optional
dependency imports it where it runs, so that ``--help`` works without.
"""

from collections.abc import Mapping

from model_store.commands import facts, inventory, signatures, verification
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
}
