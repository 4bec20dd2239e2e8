"""The dashboard as Grafana reads it, `sluice.json`: ``python -m deploy.grafana`` writes it from `panels.py`."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deploy.grafana.panels import ROWS, Panel

FILE = Path(__file__).with_name("sluice.json")

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS = 24
_ROW_HEIGHT, _STAT_HEIGHT, _PANEL_HEIGHT = 1, 4, 8
_SCHEMA = 39
"""The schema of Grafana 10.4, which later versions read too."""


def render() -> str:
    """The file."""
    return json.dumps(make_dashboard(), indent=1) + "\n"


def make_dashboard() -> dict[str, Any]:
    return {
        "uid": "sluice",
        "title": "Sluice",
        "description": "Requests, models, batches, workers and limits of Sluice.",
        "tags": ["sluice"],
        "schemaVersion": _SCHEMA,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": list(_make_variables())},
        "annotations": {"list": []},
        "panels": list(_make_panels()),
    }


def _make_variables() -> Iterator[dict[str, Any]]:
    yield {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"}
    yield _make_variable("job", "Job", "label_values(sluice_workers, job)")
    for name, label, of in (("model", "Model", "sluice_model_ready"), ("route", "Route", "sluice_requests_total")):
        variable = _make_variable(name, label, f'label_values({of}{{job=~"$job"}}, {name})')
        yield {**variable, "allValue": ".*"}  # also none: many refusals name no model


def _make_variable(name: str, label: str, query: str) -> dict[str, Any]:
    """A choice of several values. At first all are chosen."""
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _make_panels() -> Iterator[dict[str, Any]]:
    number, y = 1, 0
    for title, panels in ROWS.items():
        place = {"h": _ROW_HEIGHT, "w": _COLUMNS, "x": 0, "y": y}
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        number, y = number + 1, y + _ROW_HEIGHT
        for line in _break_lines(panels):
            height = max(map(_find_height, line))
            x = 0
            for panel in line:
                place = {"h": height, "w": panel.width, "x": x, "y": y}
                yield {"id": number, "gridPos": place, **_make_panel(panel)}
                number, x = number + 1, x + panel.width
            y += height


def _break_lines(panels: Sequence[Panel]) -> Iterator[list[Panel]]:
    line: list[Panel] = []
    for panel in panels:
        if sum(each.width for each in line) + panel.width > _COLUMNS:
            yield line
            line = []
        line.append(panel)
    yield line


def _find_height(panel: Panel) -> int:
    return _STAT_HEIGHT if panel.kind == "stat" else _PANEL_HEIGHT


def _make_panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": _SOURCE, "expr": target.expr, "legendFormat": target.legend}
            for i, target in enumerate(panel.targets)
        ],
        "fieldConfig": {"defaults": _make_field(panel), "overrides": []},
        "options": _make_options(panel),
    }


def _make_field(panel: Panel) -> dict[str, Any]:
    field: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.is_share:
        steps: list[tuple[str, float | None]] = [("green", None), ("orange", 0.8), ("red", 0.95)]
        field["max"] = 1
        field["thresholds"] = {
            "mode": "absolute",
            "steps": [{"color": color, "value": value} for color, value in steps],
        }
    if panel.kind == "timeseries":
        field["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 20 if panel.stacks else 0,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacks else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if panel.is_share else "off"},
        }
    return field


def _make_options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {"reduceOptions": reduce, "textMode": "auto", "colorMode": "none", "graphMode": "area"}
    return {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"], "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
