"""The query by which the Prometheus Adapter answers the autoscaler, really evaluated: by promtool."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.kubernetes.manifests import KUBERNETES, read_all

pytestmark = pytest.mark.deploy
ADAPTER = KUBERNETES / "components" / "autoscaling" / "prometheus-adapter.yaml"
METRIC = "sluice_queue_seconds_per_second"


def series(pod: str, model: str, change: float) -> dict[str, str]:
    """A pod's seconds of waiting, which grow by ``change`` from scrape to scrape, every 15 s."""
    labels = f'namespace="default", pod="{pod}", model="{model}", version="1"'
    return {"series": f"sluice_queue_seconds_sum{{{labels}}}", "values": f"0+{change}x40"}


def test_adapter_counts_the_requests_that_wait(tmp_path: Path) -> None:
    """Each pod has the mean number of its waiting requests over all models, and 0 without traffic, not NaN."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    [values] = read_all(ADAPTER.read_text())
    [rule] = values["rules"]["custom"]
    query = rule["metricsQuery"].replace("<<.Series>>", "sluice_queue_seconds_sum").replace("<<.GroupBy>>", "pod")
    query = query.replace("<<.LabelMatchers>>", 'namespace="default",pod=~"busy|idle"')
    rules = {"groups": [{"name": "adapter", "rules": [{"record": METRIC, "expr": query}]}]}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    samples = [{"labels": f'{METRIC}{{pod="{pod}"}}', "value": value} for pod, value in (("busy", 6), ("idle", 0))]
    test = {
        "interval": "15s",
        # In a second, the busy pod's requests wait 5 s for one model and 1 s for the other.
        "input_series": [
            series("busy", "a", 75),
            series("busy", "b", 15),
            series("idle", "a", 0),
            series("other", "a", 9),
        ],
        "promql_expr_test": [{"expr": METRIC, "eval_time": "5m", "exp_samples": samples}],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": [test]}))
    run = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "test.yml")], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
