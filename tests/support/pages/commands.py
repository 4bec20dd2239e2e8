"""docs/reference/commands.md, from the parsers of the command line."""

import argparse
import importlib
from collections.abc import Callable, Iterator

import sluice
from tests.support.pages.markdown import as_code, join_page, make_table


def write_commands() -> str:
    parts: list[str] = []
    names: dict[Callable[[argparse.ArgumentParser], None], str] = {}
    for name, (module, function, _, text) in sluice.COMMANDS.items():
        add_arguments = getattr(importlib.import_module(module), function)
        parser = argparse.ArgumentParser(prog=f"sluice {name}", description=f"{text[0].upper()}{text[1:]}.")
        if add_arguments in names:
            parts += [f"## {parser.prog}", f"{parser.description} It takes the flags of `{names[add_arguments]}`."]
        else:
            names[add_arguments] = parser.prog
            add_arguments(parser)
            parts += _describe(parser, "##")
    return join_page(
        "The command line",
        "`sluice COMMAND --help` says the same. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted; those of "
        "[`sluice check`](../check.md) say more, and [`sluice score`](../how-to/score.md) has 3 where "
        "rows have an error.",
        *parts,
    )


def _describe(parser: argparse.ArgumentParser, heading: str) -> Iterator[str]:
    yield f"{heading} {parser.prog}"
    yield " ".join((parser.description or "").split())
    if any(action.dest == "store" for action in parser._actions) and "further settings" in (parser.epilog or ""):
        yield "All other [settings](settings.md) are environment variables, or keys of the file."
    for group in parser._action_groups:
        rows = [_describe_action(action, parser) for action in group._group_actions if _is_shown(action)]
        if rows:
            known = ("positional arguments", "options")
            yield from [] if group.title in known else [f"{str(group.title)[0].upper()}{str(group.title)[1:]}:"]
            yield make_table(("argument", "what it does"), rows)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            texts = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, child in action.choices.items():
                child.description = child.description or f"{texts[name][:1].upper()}{texts[name][1:]}."
                yield from _describe(child, f"{heading}#")


def _is_shown(action: argparse.Action) -> bool:
    hidden = isinstance(action, argparse._HelpAction | argparse._SubParsersAction)
    return not hidden and action.help != argparse.SUPPRESS


def _describe_action(action: argparse.Action, parser: argparse.ArgumentParser) -> tuple[str, str]:
    shown = {**vars(action), "prog": parser.prog}
    if action.choices is not None:
        shown["choices"] = ", ".join(map(str, action.choices))
    text = (action.help or "") % shown
    return as_code(f"{', '.join(action.option_strings)} {_name_value(action)}".strip()), text


def _name_value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    choices = None if action.choices is None else f"{{{','.join(map(str, action.choices))}}}"
    names = action.metavar or choices or action.dest.upper()
    return " ".join(names) if isinstance(names, tuple) else str(names)
