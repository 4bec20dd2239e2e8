"""What a pipeline costs beside its steps: what is asked, and how it is judged."""

import json
from pathlib import Path

import pytest

from loadtests.bench.peers.sluice import STORE
from loadtests.bench.pipelines import STEPS, write_pipeline
from loadtests.bench.results.report import write_json, write_markdown
from loadtests.bench.results.result import PIPELINES, Result
from loadtests.bench.results.task_figures import PipelineCost, TaskFigures
from loadtests.bench.results.verdict import judge
from model_store import Store
from model_store.pipeline_files.fit import find_faults
from model_store.pipeline_files.reading import read_file
from model_store.pipelines.order import stages
from tests.loadtests.bench.results.made_up import MACHINE


def test_pipeline_has_three_steps_one_after_the_other(tmp_path: Path):
    """Its models are the reference models, and no two steps run side by side, which would hide what it costs."""
    file = tmp_path / "p.toml"
    file.write_text(write_pipeline())
    facts = read_file(file).manifest.pipeline
    assert facts is not None
    assert stages(facts) == [[name] for name in STEPS]
    assert [*find_faults(facts, Store(STORE))] == []


@pytest.mark.parametrize(
    ("cost", "holds", "text"),
    [
        (None, None, "not measured"),
        (PipelineCost((1.1, 1.1), (1.0, 1.0), 0), True, "1.10×"),
        (PipelineCost((1.2, 1.2), (1.0, 1.0), 0), False, "1.20×"),
        (PipelineCost((1.0,), (1.0,), 2), False, "2 answers failed"),
    ],
)
def test_pipeline_may_take_15_percent_more_than_its_steps(cost: PipelineCost | None, holds: bool | None, text: str):
    """A failed answer breaks the promise too; what was not measured is no verdict. Reports show both times."""
    result = Result(MACHINE, {}, {}, (), (), (), tasks=TaskFigures(pipeline=cost), only=PIPELINES)
    [row] = judge(result)
    assert row.holds is holds
    assert text in row.measured
    assert text in write_markdown(result)
    assert json.loads(write_json(result))["verdict"][0]["holds"] is holds
