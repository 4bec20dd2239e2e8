"""The command `sluice`: joins the packages' sub-commands and imports each only when it is called."""

import argparse
import importlib
import sys

COMMANDS = {
    # name: (module, function that adds its arguments, function that runs it, what it does)
    "serve": ("service.cli", "serve_arguments", "serve", "start the prediction service"),
    "models": ("model_store.cli", "models_arguments", "models", "list, show and verify the models of a store"),
    "train": ("export.cli", "train_arguments", "train", "train a reference model and publish it"),
    "export": ("export.cli", "export_arguments", "export_model", "publish a PyTorch model of your own"),
    "check": ("export.cli", "check_arguments", "check", "tell what the server would do with an ONNX file, and why"),
    "loadtest": ("loadtests.cli", "loadtest_arguments", "loadtest", "put load on a service and judge the answers"),
    "bench": ("loadtests.cli", "bench_arguments", "bench", "compare the service with others on this machine"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run a sub-command; returns its exit code: 0 done, 1 failed, 2 wrong usage."""
    given = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        prog="sluice", description="From a trained PyTorch model to a batched, monitored, load-tested service."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")
    for name, (*_, text) in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    chosen = parser.parse_args(given[:1]).command
    module_name, add_arguments, run, text = COMMANDS[chosen]
    module = importlib.import_module(module_name)
    command = argparse.ArgumentParser(prog=f"sluice {chosen}", description=f"{text[0].upper()}{text[1:]}.")
    getattr(module, add_arguments)(command)
    code: int = getattr(module, run)(command.parse_args(given[1:]))
    return code


if __name__ == "__main__":
    sys.exit(main())
