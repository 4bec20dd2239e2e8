"""The command `sluice`. It imports the package of a sub-command only when that is called."""

from __future__ import annotations  # so that an older Python can run this file and print that it is too old

import argparse
import importlib
import os
import signal
import sys
from pathlib import Path

COMMANDS = {
    # name: (module, function that adds its arguments, function that runs it, what it does)
    "serve": ("service.cli", "serve_arguments", "serve", "start the prediction service"),
    "health": ("service.cli", "health_arguments", "health", "ask the server with these settings whether it is ready"),
    "doctor": ("service.doctor.cli", "doctor_arguments", "doctor", "tell what is wrong or slow here, and what to do"),
    "models": (
        "model_store.commands.cli",
        "models_arguments",
        "models",
        "show, check and change the models in a store",
    ),
    "train": ("export.cli", "train_arguments", "train", "train a reference model and publish it"),
    "export": ("export.cli", "export_arguments", "export_model", "prove and publish your own PyTorch or ONNX model"),
    "import": ("export.importers.cli", "import_arguments", "import_model", "publish a model of another tool"),
    "keys": ("service.access.cli", "keys_arguments", "keys", "make API keys, and list those of a file"),
    "pipeline": ("service.pipelines.cli", "pipeline_arguments", "pipeline", "check, try and publish a pipeline"),
    "check": ("export.cli", "check_arguments", "check", "show what the server would do with an ONNX file, and why"),
    "score": ("service.score.cli", "score_arguments", "score", "put a table or a folder of files through a model"),
    "loadtest": ("loadtests.cli", "loadtest_arguments", "loadtest", "put load on a server and judge its answers"),
    "bench": ("loadtests.cli", "bench_arguments", "bench", "compare Sluice with other servers on this machine"),
    "completion": (
        "sluice",
        "completion_arguments",
        "completion",
        "print what lets a shell complete commands",
    ),
}
COMPLETED_FILES = {
    # shell: where it looks for such a script
    "bash": "~/.local/share/bash-completion/completions/sluice",
    "zsh": "a folder of $fpath, as _sluice",
    "fish": "~/.config/fish/completions/sluice.fish",
}


def main(arguments: list[str] | None = None) -> int:
    """Run a sub-command; returns its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    if sys.version_info < (3, 11):  # noqa: UP036
        print(f"sluice: Python {sys.version.split()[0]}: expected 3.11 or newer", file=sys.stderr)
        return 2
    given = sys.argv[1:] if arguments is None else arguments
    parser, commands = _make_parser()
    for name, (*_, text) in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    chosen = parser.parse_args(given[:1]).command
    module_name, add_arguments, run, text = COMMANDS[chosen]
    if chosen == "serve":
        _end_well()
    command = argparse.ArgumentParser(prog=f"sluice {chosen}", description=_sentence(text))
    try:
        module = importlib.import_module(module_name)
        getattr(module, add_arguments)(command)
        code: int = getattr(module, run)(command.parse_args(given[1:]))
    except KeyboardInterrupt:  # Ctrl-C, without a traceback
        return 130
    return code


def _make_parser() -> tuple[argparse.ArgumentParser, argparse._SubParsersAction[argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(
        prog="sluice", description="Turn a trained PyTorch model into a batched, monitored, load-tested service."
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version and exit")
    return parser, parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def completion_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=tuple(COMPLETED_FILES), help="the shell that completes")
    places = "; ".join(f"{shell}: {place}" for shell, place in COMPLETED_FILES.items())
    parser.epilog = f"Save it where the shell looks for it, and again after an upgrade. {places}."


def completion(args: argparse.Namespace) -> int:
    """Print the script. It names every command and flag, so the shell completes without starting Python."""
    try:
        import shtab
    except ImportError:
        print("sluice completion: shtab is not installed: pip install 'sluice-serving[completion]'", file=sys.stderr)
        return 2
    parser, commands = _make_parser()
    for name, (module_name, add_arguments, _, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text)
        try:
            getattr(importlib.import_module(module_name), add_arguments)(command)
        except ImportError:  # of an extra that is not installed: the command is completed, its flags are not
            continue
        command.description = text  # shells show it beside the command
        _mark_paths(command, {"FOLDER": shtab.DIRECTORY, "FILE": shtab.FILE, "IN": shtab.FILE, "OUT": shtab.FILE})
    print(shtab.complete(parser, shell=args.shell))
    return 0


def _mark_paths(parser: argparse.ArgumentParser, completed: dict[str, object]) -> None:
    """Tell which arguments are paths, by the words for their values; sub-commands included."""
    for action in parser._actions:
        word = str(action.metavar or action.dest).partition(".")[0].upper()
        if action.type is Path and word not in completed:
            word = "FILE"
        if word in completed:
            action.complete = completed[word]  # type: ignore[attr-defined]  # which shtab reads
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _mark_paths(command, completed)


class _ShowVersion(argparse.Action):
    """Looks up the version only when it is asked for, because that takes as long as a short command."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print("sluice", version("sluice-serving"))
        parser.exit()


def _end_well() -> None:
    """Let signals that stop a server end this process with code 0 while it still starts.

    An exception might be lost during imports and in callbacks, and there is nothing to clean up yet.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # `nohup` ignores SIGHUP
            signal.signal(number, lambda *_: os._exit(0))


if __name__ == "__main__":
    sys.exit(main())
