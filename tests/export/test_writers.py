"""The documentation's models that write text."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from export import OnnxSpec
from model_store.tasks import Carry, Loop, Tokens, Writing
from tests.examples.packages import run_sluice
from tests.support.servers import FAST, Serving, settings_for

DOCS = Path(__file__).resolve().parents[2] / "docs"
SECTION = (DOCS / "export.md").read_text().partition("\n## Models that write text\n")[2]


def find_example() -> str:
    example = re.search(r"```python\n# my_writer.py\n(.*?)```", SECTION, re.DOTALL)
    assert example is not None
    return example[1]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    """A server with the model of the page, published by the page's command."""
    assert "`sluice export my_writer.py:spec --store models`" in SECTION
    (tmp_path / "my_writer.py").write_text(find_example())
    run_sluice("export", f"{tmp_path / 'my_writer.py'}:spec", "--store", str(tmp_path / "models"))
    with Serving(settings_for(tmp_path / "models"), FAST) as serving, serving.client() as client:
        yield client


def test_spec_of_the_page_is_a_spec() -> None:
    """Its code runs as it stands."""
    names: dict[str, Any] = {}
    exec(compile(find_example(), "export.md", "exec"), names)  # noqa: S102  # our own page
    assert names["spec"]().writing.position == "position"


@pytest.mark.slow
def test_model_of_the_page_answers_the_request_of_the_page(client: httpx.Client) -> None:
    """What it writes are its symbols, at most as many as were asked for; all rows share steps."""
    body = re.search(r"/predict_sequence -d '(.*?)'", SECTION)
    assert body is not None
    answer = client.post("/predict_sequence", content=body[1])
    assert answer.status_code == 200, answer.text
    [prediction] = answer.json()["predictions"]
    assert len(prediction["text"].split()) == prediction["tokens"] <= 5
    assert "rows share steps, whatever their lengths" in client.get("/v2/models/my-writer").json()["writing"]


def test_spec_of_files_of_the_page_is_a_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of docs/publish-onnx.md runs as it stands, with samples of the encoder."""
    section = (DOCS / "publish-onnx.md").read_text().partition("\n## Models that write text\n")[2]
    block = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert block is not None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    names = {kind.__name__: kind for kind in (OnnxSpec, Tokens, Loop, Carry, Writing, Path)}
    names |= {"ids": np.ones((1, 3), np.int64), "mask": np.ones((1, 3), np.int64)}
    exec(compile(block[1], "publish-onnx.md", "exec"), names)  # noqa: S102  # our own page
    assert names["spec"].writing.prefix == "input_ids"
