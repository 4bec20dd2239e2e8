"""What watches the service: dashboard, rules, alerts and their pages. Debian's package prometheus has `promtool`."""

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.dashboard import FILE, render
from service.metrics.definitions import DEFINITIONS
from service.metrics.restarts import CAUSES
from tests.support.processes import REPOSITORY

FOLDER = REPOSITORY / "deploy" / "prometheus"
RUNBOOKS = REPOSITORY / "docs" / "runbooks"
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's package prometheus is missing")


def read_rules(name: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / name).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = read_rules("alerts.yml")


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def find_panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads(FILE.read_text())["panels"]
    return panels


def exposed_names() -> dict[str, str]:
    """The name of a series of each metric."""
    ends = {"counter": "_total", "histogram": "_bucket", "gauge": ""}
    return {name: name + ends[each.kind] for name, each in DEFINITIONS.items()}


def test_dashboard_is_what_the_generator_writes() -> None:
    """The file is not changed by hand: `python -m deploy.grafana` writes it."""
    assert FILE.read_text() == render()


def test_each_metric_is_on_a_panel_and_no_panel_asks_for_another() -> None:
    """A new metric wants a place on the dashboard; a name that is gone would make an empty panel."""
    text = "\n".join(target["expr"] for panel in find_panels() for target in panel.get("targets", ()))
    assert [name for name, series in exposed_names().items() if not re.search(rf"\b{series}\b", text)] == []
    ours = set(re.findall(r"\b(?:sluice|process)_\w+", text))
    assert ours <= {each for name in DEFINITIONS for each in names_of(name)}


def names_of(name: str) -> set[str]:
    kind = DEFINITIONS[name].kind
    ends = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}[kind]
    return {name + end for end in ends}


def test_panels_do_not_overlap() -> None:
    """Every panel has a place of its own within 24 columns, and an id of its own."""
    taken: set[tuple[int, int]] = set()
    for panel in find_panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        columns, lines = (range(place[at], place[at] + place[size]) for at, size in (("x", "w"), ("y", "h")))
        cells = set(itertools.product(columns, lines))
        assert not taken & cells
        taken |= cells
    ids = [panel["id"] for panel in find_panels()]
    assert len(set(ids)) == len(ids)


def test_rules_ask_for_metrics_that_there_are() -> None:
    """An alert on a name that nobody exposes would never fire."""
    known = {each for name in DEFINITIONS for each in names_of(name)}
    for rule in read_rules("recording.yml") + ALERTS:
        plain = re.sub(r"job\w*:sluice_\w+:\w+", "", rule["expr"])
        assert set(re.findall(r"\b(?:sluice|process)_\w+", plain)) <= known, rule


def test_alerts_build_on_rules_that_there_are() -> None:
    """Every recorded name in an expression is recorded, and before it is used."""
    recorded: set[str] = set()
    for rule in read_rules("recording.yml") + ALERTS:
        assert set(re.findall(r"job\w*:sluice_\w+:\w+", rule["expr"])) <= recorded, rule
        recorded.add(rule.get("record", ""))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_each_alert_has_a_page_and_cases(alert: dict[str, Any]) -> None:
    """The page is in the navigation of the documentation; the cases say when it fires and when it does not."""
    name = alert["alert"]
    assert alert["annotations"]["runbook_url"] == f"{{{{ $externalLabels.runbooks }}}}/{name}.html"
    assert alert["labels"]["severity"] in ("page", "ticket")
    page = (RUNBOOKS / f"{name}.md").read_text()
    assert page.startswith(f"# {name}\n")
    assert "## Find out why" in page
    assert "## What to do" in page
    assert f"runbooks/{name}.md" in (REPOSITORY / "mkdocs.yml").read_text()
    cases = [
        case["exp_alerts"]
        for file in (FOLDER / "tests").glob("*.yml")
        for group in yaml.safe_load(file.read_text())["tests"]
        for case in group["alert_rule_test"]
        if case["alertname"] == name
    ]
    assert any(cases), "no case in which it fires"
    assert not all(cases), "no case in which it does not"


def test_pages_of_restarts_name_every_cause() -> None:
    """Who is woken finds the cause that the alert names."""
    page = (RUNBOOKS / "SluiceWorkersRestart.md").read_text()
    table = (REPOSITORY / "docs" / "how-to" / "monitoring.md").read_text()
    assert all(f"`{cause}`" in text for cause in CAUSES for text in (page, table))


def test_there_is_no_page_of_an_alert_that_is_gone() -> None:
    """Pages and alerts are the same set."""
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == {alert["alert"] for alert in ALERTS}


def test_other_files_can_be_read() -> None:
    """The scrapes of a cluster are those of pods. Debian's promtool knows no Kubernetes, so they are only parsed."""
    [job] = yaml.safe_load((FOLDER / "kubernetes.yml").read_text())["scrape_configs"]
    assert job["kubernetes_sd_configs"] == [{"role": "pod"}]
    assert job["job_name"].startswith("sluice")
    for path in (REPOSITORY / "deploy" / "grafana" / "provisioning").rglob("*.yml"):
        assert yaml.safe_load(path.read_text())["apiVersion"] == 1


@pytest.mark.long
@needs_promtool
def test_promtool_finds_no_fault() -> None:
    """The configuration with its rules is valid, and every alert fires exactly where its cases say."""
    promtool("check", "config", FOLDER / "prometheus.yml")
    promtool("check", "rules", FOLDER / "recording.yml", FOLDER / "alerts.yml")
    promtool("test", "rules", *sorted((FOLDER / "tests").glob("*.yml")))


@pytest.mark.skipif(shutil.which("amtool") is None, reason="Debian's package prometheus-alertmanager is missing")
def test_amtool_finds_no_fault() -> None:
    """The example of Alertmanager is valid."""
    done = subprocess.run(["amtool", "check-config", str(FOLDER / "alertmanager.yml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
