"""`sluice doctor`: reports what is right, slow and wrong here, and what to do."""

import argparse
import itertools
import json
import os
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from service.doctor import address, libraries, machine, signatures
from service.doctor.finding import Finding
from service.flags import add_flags, read_flags
from service.process.health import read_server_flags
from service.settings import Settings

_STYLES = {"wrong": "bold red", "slow": "yellow", "note": "", "ok": "green"}
_ORDER = tuple(_STYLES)
_LABEL = 20
"""The width of the columns before the text: the state and the check."""


def doctor_arguments(parser: argparse.ArgumentParser) -> None:
    add_flags(parser)
    parser.usage = f"{parser.prog} [--json] [--SETTING VALUE ...]"
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def doctor(args: argparse.Namespace) -> int:
    """Run all checks. Returns 0 if a server with these settings would work, 1 if something is wrong."""
    findings = examine({**_read_server(), **read_flags(args)})
    is_wrong = any(finding.state == "wrong" for finding in findings)
    if args.json:
        print(json.dumps({"healthy": not is_wrong, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        _print(Console(highlight=False), findings)
    return 1 if is_wrong else 0


def _read_server() -> dict[str, str]:
    """The flags of the server in whose container this runs, as for `sluice health`."""
    parser = argparse.ArgumentParser()
    add_flags(parser)
    of_server, _ = parser.parse_known_args(read_server_flags())
    return read_flags(of_server)


def examine(given: dict[str, str]) -> list[Finding]:
    """The findings of all checks. If the settings are wrong, the other checks use the defaults."""
    usable, findings = address.read_settings(given, os.environ)
    findings += address.check_variables()
    settings = usable or Settings()
    for check in _CHECKS:
        findings += _run(check, settings)
    return findings


def _run(check: Callable[[Settings], Iterable[Finding]], settings: Settings) -> list[Finding]:
    """The findings of a check. A check that raises becomes a finding, so that it does not hide the others."""
    try:
        return list(check(settings))
    except Exception as error:  # noqa: BLE001
        name = check.__name__.removeprefix("check_").replace("_", " ")
        return [Finding(name, "wrong", f"this could not be checked: {type(error).__name__}: {error}")]


def _check_runtime(settings: Settings) -> Iterator[Finding]:
    from service.doctor import runtime  # needs ONNX Runtime, which may be missing

    yield from runtime.check_provider(settings)
    yield from runtime.check_request_path(settings)


def _check_store(settings: Settings) -> Iterator[Finding]:
    from service.doctor.store import survey

    found = survey(settings)
    yield from machine.check_memory(settings, models=found.newest_bytes)
    yield from found.findings


_CHECKS: tuple[Callable[[Settings], Iterable[Finding]], ...] = (
    libraries.check_python,
    libraries.check_libraries,
    libraries.check_runtimes,
    _check_runtime,
    machine.check_processor,
    machine.check_cores,
    machine.check_load,
    signatures.check_signers,
    _check_store,
    machine.check_files,
    machine.check_folders,
    address.check_address,
    address.check_tls,
    address.check_access,
)


def _print(console: Console, findings: list[Finding]) -> None:
    counts = Counter(finding.state for finding in findings)
    verdict = "a server would work" if not counts["wrong"] else "a server, or some of its models, would not work"
    summary = f"{verdict}: {counts['wrong']} wrong, {counts['slow']} slow, {counts['ok']} right"
    console.print(Text(summary, style="bold"))
    for finding in sorted(findings, key=lambda each: _ORDER.index(each.state)):
        _print_finding(console, finding)


def _print_finding(console: Console, finding: Finding) -> None:
    width = max(60, console.width) - 1 - _LABEL
    texts = [finding.text, f"do: {finding.advice}"] if finding.advice and finding.state != "ok" else [finding.text]
    lines = [textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False) for text in texts]
    head = Text.assemble((f"{finding.state:6}", _STYLES[finding.state]), f"{finding.check:{_LABEL - 6}}")
    first, *others = [*itertools.chain(*lines)] or [""]
    console.print(head + Text(first), soft_wrap=True)
    for line in others:
        console.print(Text(" " * _LABEL + line), soft_wrap=True)
