"""What is wrong with a pipeline by itself, with its models, and in the file that describes it."""

import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from model_store.errors import BadManifest
from model_store.pipeline_files.fit import find_faults
from model_store.pipeline_files.reading import read_file
from model_store.pipelines.answers import ANYTHING, NUMBER, PREDICTIONS, TEXT, TRUTH, Form
from model_store.pipelines.drawing import draw_mermaid, draw_text
from model_store.pipelines.order import stages
from service.api.openapi import task_types
from tests.support.models.manifests import describe
from tests.support.pipelines.models import COLOURS, FIND, HALVES, PAINT, PIPELINES, make_pipeline, write_store

STEPS = {"find": FIND, "halves": HALVES, "paint": PAINT}


def change(name: str, **fields: Any) -> dict[str, Any]:
    """The steps, one of them changed; a field that is None is left out."""
    step = {key: value for key, value in {**STEPS[name], **fields}.items() if value is not None}
    return {**STEPS, name: step}


WRONG: dict[str, tuple[Mapping[str, Any], Mapping[str, str], str]] = {
    "no steps": ({}, COLOURS, "steps: expected 1 to 32, got 0"),
    "name": ({**STEPS, "a b": FIND}, COLOURS, "'a b' is no name of a step"),
    "request": ({"request": FIND}, COLOURS, "'request' is no name of a step"),
    "model and do": (change("paint", do="crop"), COLOURS, "steps.paint: expected either model, or do"),
    "neither": (change("paint", model=None), COLOURS, "steps.paint: expected either model, or do"),
    "no task": (change("paint", task=None), COLOURS, "steps.paint.task: expected what the model does here"),
    "input and each": (change("paint", input="request"), COLOURS, "steps.paint: expected either input"),
    "no boxes": (change("halves", boxes=None), COLOURS, "steps.halves.boxes: expected a wire"),
    "foreign field": (change("paint", margin=0.5), COLOURS, "steps.paint.margin: expected it not"),
    "field of models": (change("halves", task="detect"), COLOURS, "steps.halves.task: expected it not"),
    "stream": (change("paint", options={"stream": True}), COLOURS, "steps.paint.options.stream: expected it not"),
    "no outputs": (STEPS, {}, "outputs: expected what is answered"),
    "no such step": (change("paint", each="halfs"), COLOURS, "no step 'halfs': did you mean 'halves'?"),
    "no wire": (change("paint", each="1"), COLOURS, "steps.paint.each: expected a wire such as"),
    "no condition": (change("paint", when="1"), COLOURS, "steps.paint.when: expected comparisons such as"),
    "circle": (
        change("find", input="paint[0].label"),
        COLOURS,
        "expected no circle, got find <- paint <- halves <- find",
    ),
    "idle": (STEPS, {"boxes": "find.detections"}, "steps.paint: nothing uses its answer"),
    "output of request": (STEPS, {"x": "request"}, "outputs.x: request is what the caller has sent"),
    "field and whole": (change("find", input="request.a"), COLOURS, "request.a is a field of the row, but"),
    "element of request": (change("find", input="request[0]"), COLOURS, "request[0] is a field of the row"),
    "list": (STEPS, {"x": "paint.label"}, "write paint[].label for all"),
    "no list": (STEPS, {"x": "find[].width", **COLOURS}, "find is an object"),
    "no field": (STEPS, {"x": "paint[].lable"}, "no field 'lable': did you mean 'label'?"),
    "field of a number": (STEPS, {"x": "find.width.a"}, "find.width is a number, which has no fields"),
    "each of no list": (change("paint", each="find.width"), COLOURS, "steps.paint.each: expected a list"),
    "no picture": (change("halves", picture="find.width"), COLOURS, "steps.halves.picture: expected a picture"),
    "no list of boxes": (change("halves", boxes="find.detections[].label"), COLOURS, "expected a list of boxes"),
    "list in a condition": (
        change("find", when="paint[].index > 1"),
        COLOURS,
        "paint[].index is a list, and the step has",
    ),
    "kinds": (change("paint", when="find.detections[].label > 1"), COLOURS, "find.detections[].label is a text"),
    "vectors of no embedding": (
        {**STEPS, "who": {"do": "compare", "vectors": "find.detections[].box", "others": "find.detections[].box"}},
        {"x": "who", **COLOURS},
        "expected vectors of a step with the task embed",
    ),
}


@pytest.mark.parametrize(("steps", "outputs", "complaint"), WRONG.values(), ids=WRONG)
def test_wrong_pipeline_is_refused_with_its_field(steps: Any, outputs: Any, complaint: str):
    """No version of it can be published or read."""
    with pytest.raises(ValidationError) as refused:
        make_pipeline("p", steps, outputs)
    assert complaint in str(refused.value)


def test_pipeline_has_no_graphs_and_no_other_task_has_steps():
    """A version is one or the other."""
    pipeline = {"steps": {"find": FIND}, "outputs": {"boxes": "find.detections"}}
    for facts in (
        {"task": "pipeline", "pipeline": pipeline},
        {"pipeline": pipeline, "graphs": {}},
        {"task": "pipeline"},
    ):
        with pytest.raises(ValidationError):
            describe(**facts)


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown model": (change("paint", model="panter"), "steps.paint.model: no model 'panter' in"),
    "unknown alias": (change("paint", version="stable"), "steps.paint.version: no alias 'stable' of 'painter'"),
    "unknown version": (change("paint", version="9"), "steps.paint.version: no version 9 of 'painter'"),
    "other task": (change("find", model="matcher"), "steps.find.task: model 'matcher' does embed, not detect"),
    "a pipeline": (change("paint", model="colours"), "steps.paint.model: 'colours' is a pipeline"),
    "a text for a picture": (
        change("paint", each="find.detections[].label"),
        "model 'painter' takes a picture, but an element of find.detections[].label is a text",
    ),
    "names for a picture": (
        change("paint", each=None, input={"image": "request"}),
        "steps.paint.input: model 'painter' takes a picture: expected one wire, got one for each name",
    ),
    "unknown column": (
        change("paint", model="adder", task="regress", each=None, input={"aeg": "find.width"}),
        "steps.paint.input.aeg: model 'adder' takes no 'aeg': did you mean 'age'?",
    ),
    "kind of a column": (
        change("paint", model="adder", task="regress", each=None, input={"age": "find.detections[0].label"}),
        "steps.paint.input.age: model 'adder' takes a number, but find.detections[0].label is a text",
    ),
}


@pytest.mark.parametrize(("steps", "complaint"), FAULTS.values(), ids=FAULTS)
def test_model_that_does_not_fit_is_told(tmp_path: Path, steps: dict[str, Any], complaint: str):
    """Each step is compared with its model in the store."""
    store = write_store(tmp_path)
    pipeline = make_pipeline("p", steps, {"x": "paint", "y": "halves", "z": "find"}).pipeline
    assert pipeline is not None
    [fault] = find_faults(pipeline, store)
    assert complaint in fault


def test_pipelines_of_these_tests_fit(tmp_path: Path):
    """No fault is found in pipelines that work."""
    store = write_store(tmp_path)
    for name in PIPELINES:
        pipeline = store.find(name).read_manifest().pipeline
        assert pipeline is not None
        assert [*find_faults(pipeline, store)] == []


def test_steps_that_need_none_of_each_other_are_of_one_stage():
    """Stages are in the order in which steps can run."""
    facts = make_pipeline("p", *PIPELINES["known"]).pipeline
    assert facts is not None
    assert stages(facts) == [["find", "theirs"], ["halves"], ["mine"], ["who"]]


def test_drawings_have_every_step_and_wire():
    """As text each step has a line with its number; for Mermaid each has a box, and a condition a dotted arrow."""
    facts = make_pipeline("p", *PIPELINES["sure"]).pipeline
    assert facts is not None
    lines = draw_text(facts).splitlines()
    assert [line.split()[:2] for line in lines[:4]] == [["1", "find"], ["2", "halves"], ["3", "paint"], ["4", "whole"]]
    assert lines[2].endswith("classify by painter  for each of halves; if find.detections[].score >= 0.3")
    drawing = draw_mermaid(facts)
    assert 'step_find -.->|"detections[].score"| step_paint' in drawing
    assert drawing.count("request -->") == 3


FILE = """
name = "p"
[steps.find]
model = "finder"
version = 1
task = "detect"
input = "request"
[outputs]
boxes = "find.detections"
"""


def test_file_becomes_a_manifest_with_golden_files(tmp_path: Path):
    """Versions may be numbers, a request a picture, and an answer what the server has answered."""
    (tmp_path / "a.gif").write_bytes(b"GIF89a" + bytes(20))
    (tmp_path / "a.json").write_text(json.dumps({"model": "p", "version": "1", "predictions": [{"boxes": []}]}))
    path = tmp_path / "p.toml"
    path.write_text(FILE + '[[golden]]\nrequest = "a.gif"\nanswer = "a.json"\natol = 0.5\n')
    manifest, files = read_file(path)
    assert manifest.pipeline is not None
    assert manifest.pipeline.steps["find"].version == "1"
    [golden] = manifest.pipeline.golden
    assert manifest.further_files == files.keys() == {golden.request, golden.answer}
    assert json.loads(files[golden.answer]) == {"predictions": [{"boxes": []}]}
    assert json.loads(files[golden.request])["inputs"][0]["image"].startswith("R0lGOD")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name =", "p.toml: expected TOML"),
        (FILE.replace("boxes =", "boxes ="), ""),
        (FILE.replace('name = "p"', 'name = "a p"'), "p.toml: name: expected letters"),
        (FILE.replace("version = 1", "versoin = 1"), "p.toml: steps.find.versoin: unknown field"),
        (FILE.replace("[steps.find]", "[steps]\nfind = 1\n[other]"), "p.toml: steps.find: expected a table, such as"),
        (FILE + '[[golden]]\nrequest = "a"\nanswer = "b"\n', "golden: request a cannot be read"),
        (
            FILE + '[[golden]]\nrequest = "p.toml"\nanswer = "b"\n',
            'golden: request p.toml: expected JSON such as {"inputs"',
        ),
    ],
)
def test_file_that_cannot_be_read_is_refused_in_words(tmp_path: Path, text: str, complaint: str):
    """The message names the file, the field, what was expected and what came."""
    path = tmp_path / "p.toml"
    path.write_text(text)
    if not complaint:
        assert read_file(path).manifest.name == "p"
        return
    with pytest.raises(BadManifest) as refused:
        read_file(path)
    assert complaint in str(refused.value)


def test_forms_of_answers_are_those_of_the_server():
    """Each field that a task may answer can be named by a wire, and no other."""
    for task, form in PREDICTIONS.items():
        names = {"predict_sequence": "Sequence"}
        answer = getattr(task_types, f"{names.get(task, task.capitalize())}Answer")
        [prediction] = typing.get_args(typing.get_type_hints(answer)["predictions"])
        _compare(task, form, prediction)


def _compare(where: str, form: Form, kind: Any) -> None:
    if form == ANYTHING:
        return
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        parts = typing.get_args(kind)
        if isinstance(form, Mapping):
            assert set(form) == {name for part in parts for name in typing.get_type_hints(part)}, where
            return
        assert any(_fits(form, part) for part in parts), (where, form, kind)
    elif isinstance(form, list):
        assert origin is list, where
        _compare(f"{where}[]", form[0], typing.get_args(kind)[0])
    elif isinstance(form, Mapping):
        hints = typing.get_type_hints(kind)
        assert set(form) == set(hints), where
        for name, inner in form.items():
            _compare(f"{where}.{name}", inner, hints[name])
    else:
        assert _fits(form, kind), (where, form, kind)


def _fits(form: Form, kind: Any) -> bool:
    expected = {NUMBER: (int, float), TEXT: (str,), TRUTH: (bool,)}
    return typing.get_origin(kind) is list if isinstance(form, list) else kind in expected[form]
