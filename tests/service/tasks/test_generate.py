"""generate: rows from noise, in one run or by a diffusion."""

import base64
import functools
import io
import json
from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image as Pillow

from service.engine.loop.noise import LARGEST_SEED, draw_normal
from service.errors import InvalidInput, ModelFailure
from service.protocol.json import render_json
from service.tasks.generation import generate
from service.tasks.generation.diffusion import choose_levels, plan_loop_request, read_sampling
from service.tasks.generation.generate import Options
from service.tasks.work import Call, Limits
from tests.support import driving
from tests.support.driving import LIMITS, Driver, body_of, load, make
from tests.support.models.graphs import build

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
LABELS = ("ant", "bee", "cat")
SAMPLE = ["batch", 1, 2, 2]
PICTURE = {"channels": 1, "scale": 1 / 255, "offset": -0.5}


def shift(labelled: bool = True) -> bytes:
    """image = noise + 10 * label."""
    add = [
        helper.make_node("Cast", ["label"], ["number"], to=FLOAT),
        helper.make_node("Mul", ["number", "ten"], ["tens"]),
        helper.make_node("Reshape", ["tens", "column"], ["wide"]),
        helper.make_node("Add", ["noise", "wide"], ["image"]),
    ]
    inputs: list[Any] = [("noise", FLOAT, SAMPLE)]
    return build(
        add if labelled else [helper.make_node("Identity", ["noise"], ["image"])],
        [*inputs, ("label", INT64, ["batch"])] if labelled else inputs,
        [("image", FLOAT, SAMPLE)],
        {"column": np.array([-1, 1, 1, 1]), "ten": np.array(10, np.float32)} if labelled else None,
    )


def denoise(without: Collection[str] = ()) -> bytes:
    """next = sample / 2 + eta * noise + guidance * label; preview = next + 1000 * time + next time.

    ``without``: of guidance and eta, those that are no inputs but 1.
    """
    integers, floats = ("time", "next_time", "label"), ("guidance", "eta")
    cast = [helper.make_node("Cast", [name], [f"{name}_number"], to=FLOAT) for name in (*integers, *floats)]
    wide = [
        helper.make_node("Reshape", [f"{name}_number", "column"], [f"{name}_wide"]) for name in (*integers, *floats)
    ]
    sums = [
        helper.make_node("Mul", ["sample", "half"], ["halved"]),
        helper.make_node("Mul", ["eta_wide", "noise"], ["drawn"]),
        helper.make_node("Mul", ["guidance_wide", "label_wide"], ["guided"]),
        helper.make_node("Sum", ["halved", "drawn", "guided"], ["next_sample"]),
        helper.make_node("Mul", ["time_wide", "thousand"], ["level"]),
        helper.make_node("Sum", ["next_sample", "level", "next_time_wide"], ["preview"]),
    ]
    numbers: list[Any] = [(name, INT64, ["batch"]) for name in integers]
    numbers += [(name, FLOAT, ["batch"]) for name in floats if name not in without]
    return build(
        [*cast, *wide, *sums],
        [("sample", FLOAT, SAMPLE), *numbers, ("noise", FLOAT, SAMPLE)],
        [("next_sample", FLOAT, SAMPLE), ("preview", FLOAT, SAMPLE)],
        {
            "column": np.array([-1, 1, 1, 1]),
            "half": np.array(0.5, np.float32),
            "thousand": np.array(1000, np.float32),
            **{name: np.ones(1, np.float32) for name in without},
        },
    )


def one_run(labelled: bool = True, picture: Any = PICTURE) -> Driver:
    facts = {"output": "image", "noise": "noise", "label": "label" if labelled else None, "picture": picture}
    return make({"main": shift(labelled)}, task="generate", labels=LABELS if labelled else (), generation=facts)


def diffuser(**changes: Any) -> Driver:
    names = {name: name for name in ("time", "next_time", "preview", "guidance", "eta")}
    diffusion = {**names, "times": 50, "step_noise": "noise", "steps": 5, "default_guidance": 0.5}
    facts = {"output": "preview", "noise": "sample", "label": "label", "picture": PICTURE}
    return make(
        {"main": denoise([name for name, value in changes.items() if value is None])},
        task="generate",
        labels=LABELS,
        loop={"carries": ({"input": "sample", "output": "next_sample"},), "max_steps": 40},
        generation={**facts, "diffusion": {**diffusion, **changes}},
    )


ask = functools.partial(driving.ask, generate)


def outputs(model: Driver, **fields: Any) -> np.ndarray:
    return np.array(body_of(ask(model, **fields))["outputs"], np.float32)


ONE_RUN = one_run()
UNLABELLED = one_run(labelled=False)
NUMBERS = one_run(picture=None)
DIFFUSER = diffuser()
ENDS = {"seeds": [1, 2]}
FEW_STEPS = Limits(max_pixels=1, max_steps=3)


@pytest.mark.parametrize(
    ("model", "arguments", "complaint"),
    [
        *[(ONE_RUN, {"count": n}, f"count: expected 1 to 1024, got {n}$") for n in (0, -1, 1025, 10**30)],
        (ONE_RUN, {"count": 2.5}, "count: expected a valid integer"),
        (ONE_RUN, {"seed": -1}, "seed: expected greater than or equal to 0"),
        (ONE_RUN, {"seed": LARGEST_SEED + 1}, f"seed: expected less than or equal to {LARGEST_SEED}"),
        (ONE_RUN, {"labels": "ant"}, "labels: expected a valid list"),
        (ONE_RUN, {"labels": []}, "labels: expected one for all rows or one for each of 1, got 0"),
        (ONE_RUN, {"count": 3, "labels": ["ant", "bee"]}, "labels: expected one for all .* for each of 3, got 2"),
        (ONE_RUN, {"labels": ["dog"]}, r"labels\[0\]: expected one of ant, bee, cat, or a position 0 to 2, got 'dog'"),
        (ONE_RUN, {"labels": ["ant", "Bee"]}, r"labels\[1\]: expected one of .*, got 'Bee'"),
        (ONE_RUN, {"labels": [3]}, r"labels\[0\]: expected .*, got 3"),
        (ONE_RUN, {"labels": [-1]}, r"labels\[0\]: expected .*, got -1"),
        (ONE_RUN, {"labels": [True]}, "labels"),
        (ONE_RUN, {"steps": 3}, "steps: only a model with a diffusion takes it, and 'm' makes its rows in one run"),
        (ONE_RUN, {"guidance": 1.0}, "guidance: only a model with a diffusion takes it"),
        (ONE_RUN, {"eta": 0}, "eta: only a model with a diffusion takes it"),
        (ONE_RUN, {"interpolate": {"seeds": [1]}, "count": 2}, "interpolate.seeds: expected at least 2 items, got 1"),
        (ONE_RUN, {"interpolate": [1, 2], "count": 2}, "interpolate: expected an object"),
        (ONE_RUN, {"interpolate": ENDS}, "count: expected 2 or more with interpolate, which has two ends, got 1"),
        (ONE_RUN, {"interpolate": ENDS, "count": 2, "seed": 3}, "seed: expected none beside interpolate"),
        (ONE_RUN, {"rows": [[1]]}, "inputs: expected none, for rows are made from noise"),
        (ONE_RUN, {"wants_picture": True, "stream": True}, "accept: image/png is one picture, and a stream has"),
        (UNLABELLED, {"labels": ["ant"]}, "labels: expected none, for model 'm' takes none"),
        (NUMBERS, {"wants_picture": True}, "accept: image/png: the rows of model 'm' are not pictures"),
        (NUMBERS, {"output_format": "picture"}, "output_format: the rows of model 'm' are not pictures"),
        (make({"main": shift()}), {}, "model: the manifest of 'm' does not say what it generates"),
        *[(DIFFUSER, {"steps": n}, f"steps: expected 1 to 40, got {n}$") for n in (0, 41, 10**9)],
        (diffuser(times=6), {"steps": 7}, "steps: expected 1 to 6, got 7$"),
        (DIFFUSER, {"steps": 4, "limits": FEW_STEPS}, "steps: expected 1 to 3, got 4$"),
        (DIFFUSER, {"eta": 1.1}, "eta: expected less than or equal to 1"),
        (DIFFUSER, {"eta": float("nan")}, "eta: expected"),
        (DIFFUSER, {"guidance": float("inf")}, "guidance: expected less than or equal to 100"),
        (DIFFUSER, {"interpolate": ENDS, "count": 2}, "interpolate: expected a model that makes its rows in one"),
        (diffuser(guidance=None), {"guidance": 1.0}, "guidance: expected none, for model 'm' takes none$"),
        (diffuser(eta=None), {"eta": 0.5}, "eta: expected none, for model 'm' takes none$"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_a_model_cannot_do_is_refused(model: Driver, arguments: Any, complaint: str) -> None:
    """Named, with what was expected, before anything runs; the least of all limits is the one that is told."""
    model.inferred.clear()
    with pytest.raises(InvalidInput, match=f"^{complaint}"):
        ask(model, **arguments)
    assert model.inferred == []


def test_sample_that_is_no_number_is_a_failure_of_the_model() -> None:
    """JSON has no infinity, so an output that is infinite is a failure of the model."""
    broken = build(
        [helper.make_node("Div", ["noise", "zero"], ["image"])],
        [("noise", FLOAT, ["batch", 2])],
        [("image", FLOAT, ["batch", 2])],
        {"zero": np.array(0, np.float32)},
    )
    model = make({"main": broken}, task="generate", generation={"output": "image", "noise": "noise"})
    with pytest.raises(ModelFailure, match="gave 'image' with numbers that are not finite"):
        ask(model)


def test_rows_come_from_the_noise_of_seed_and_position() -> None:
    """Row i is made of the noise of (seed, i), classes come in turn; a drawn seed is told and repeats the rows."""
    body = body_of(ask(ONE_RUN, count=4, seed=7))
    rows = body.pop("outputs")
    assert body == {"model": "m", "version": "1", "seed": 7, "labels": ["ant", "bee", "cat", "ant"]}
    assert "labels" not in body_of(ask(UNLABELLED, count=2))
    for row, output in enumerate(rows):
        expected = draw_normal(7, row, 0, (1, 2, 2)) + np.float32(10 * (row % 3))
        np.testing.assert_array_equal(np.array(output, np.float32), expected)
    first, second = body_of(ask(ONE_RUN)), body_of(ask(ONE_RUN))
    assert first["seed"] != second["seed"]
    assert max(first["seed"], second["seed"]) <= 2**53
    assert body_of(ask(ONE_RUN, seed=first["seed"])) == first


@settings(deadline=None, max_examples=20)
@given(
    count=st.integers(1, 9), more=st.integers(1, 9), seed=st.integers(0, LARGEST_SEED), eta=st.sampled_from([0, 0.5])
)
def test_row_does_not_depend_on_how_many_there_are(count: int, more: int, seed: int, eta: float) -> None:
    """Bit for bit, in one run and by a diffusion that draws at each step."""
    for model, fields in ((ONE_RUN, {}), (DIFFUSER, {"eta": eta})):
        few = outputs(model, count=count, seed=seed, **fields)
        many = outputs(model, count=count + more, seed=seed, **fields)
        assert few.tobytes() == many[:count].tobytes()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"labels": ["cat"]}, ["cat"]),
        ({"labels": [2, "ant"]}, ["cat", "ant"]),
        ({"labels": ["bee"], "count": 3}, ["bee"] * 3),
        ({"labels": ["bee", 0, 0], "count": 3}, ["bee", "ant", "ant"]),
    ],
)
def test_labels_are_texts_or_positions(fields: dict[str, Any], expected: list[str]) -> None:
    """One for all rows or one for each; without a count there are as many rows as labels."""
    body = body_of(ask(ONE_RUN, seed=1, **fields))
    assert body["labels"] == expected
    shifts = np.array(body["outputs"]) - outputs(ONE_RUN, seed=1, count=len(expected), labels=["ant"])
    np.testing.assert_allclose(shifts.mean((1, 2, 3)), [10 * LABELS.index(label) for label in expected], atol=1e-5)


def test_query_says_the_same_as_json() -> None:
    """Lists and objects of a query string are read from their texts."""
    model = one_run()
    texts = {"count": "3", "seed": "5", "labels": "ant,bee,cat"}
    assert body_of(ask(model, loose=True, **texts)) == body_of(ask(model, count=3, seed=5, labels=[0, 1, 2]))
    between = body_of(ask(model, loose=True, count="2", interpolate='{"seeds": [1, 2]}'))
    assert between == body_of(ask(model, count=2, interpolate={"seeds": [1, 2]}))


def test_interpolation_goes_from_seed_to_seed() -> None:
    """The ends are the first rows of the seeds, bit for bit, and every row between is as long as noise is."""
    model = UNLABELLED
    body = body_of(ask(model, count=9, interpolate={"seeds": [3, 4]}))
    rows = np.array(body["outputs"], np.float32)
    assert (body["seeds"], "seed" in body) == ([3, 4], False)
    for end, seed in ((rows[0], 3), (rows[-1], 4)):
        assert end.tobytes() == outputs(model, seed=seed)[0].tobytes()
    lengths = np.linalg.norm(rows.reshape(9, -1), axis=1)
    assert (lengths >= min(lengths[0], lengths[-1]) * 0.99).all()
    assert body_of(ask(ONE_RUN, count=3, interpolate=ENDS, labels=["bee"]))["labels"] == ["bee"] * 3
    assert body_of(ask(ONE_RUN, count=3, interpolate=ENDS))["labels"] == ["ant"] * 3
    same = outputs(model, count=3, interpolate={"seeds": [3, 3]})
    np.testing.assert_allclose(same, same[[0, 0, 0]], atol=1e-6)


@pytest.mark.parametrize(
    ("steps", "levels", "next_levels"),
    [(1, [49], [-1]), (2, [49, 0], [0, -1]), (5, [49, 37, 24, 12, 0], [37, 24, 12, 0, -1])],
)
def test_levels_fall_evenly_and_end_with_none(steps: int, levels: list[int], next_levels: list[int]) -> None:
    """Levels go from the highest to 0, and each leads to the next."""
    found, after = choose_levels(50, steps)
    assert (found.tolist(), after.tolist(), found.dtype, after.dtype) == (levels, next_levels, np.int64, np.int64)


def test_diffusion_is_the_update_of_the_graph_step_by_step() -> None:
    """Each step gets its levels, the guidance, the label and new noise; NumPy calculates the same samples."""
    found = outputs(diffuser(), count=2, seed=9, steps=3, guidance=2.0, eta=0.5, labels=["bee", "cat"])
    levels = [49, 24, 0]
    for row in range(2):
        sample = draw_normal(9, row, 0, (1, 2, 2))
        for step in range(3):
            sample = sample / 2 + 0.5 * draw_normal(9, row, step + 1, (1, 2, 2)) + 2.0 * (row + 1)
        np.testing.assert_allclose(found[row], sample + 1000 * levels[-1] - 1, rtol=1e-6)


def test_diffusion_has_the_defaults_of_the_manifest() -> None:
    """Steps and guidance of the model; nothing is drawn between the steps."""
    model = diffuser()
    assert outputs(model, seed=1).tobytes() == outputs(model, seed=1, steps=5, guidance=0.5, eta=0).tobytes()
    request = model.requests[0]
    assert (request.steps, request.last, request.keep, request.watch) == (5, ("preview",), (), None)
    assert not request.begin["noise"].any()
    assert outputs(model, seed=1).tobytes() != outputs(model, seed=1, eta=1).tobytes()


def test_graph_that_always_draws_gets_its_noise() -> None:
    """A model whose share of new noise cannot be turned down takes all of it: zeros would not be its diffusion."""
    model = diffuser(eta=None)
    facts = model.manifest.generation
    call = Call(Options(), None, model.context, LIMITS)
    sampling = read_sampling(call, facts.diffusion)
    begin = {"sample": np.zeros((2, 1, 2, 2), np.float32)}
    request = plan_loop_request(call, facts, begin, 5, sampling, None)
    drawn = request.by_step["noise"](slice(1, 2), 3)
    np.testing.assert_array_equal(drawn, draw_normal(5, 1, 4, (1, 2, 2))[None])


@pytest.mark.parametrize(("model", "steps"), [(ONE_RUN, 1), (DIFFUSER, 5)], ids=["one run", "diffusion"])
def test_stream_shows_every_step_of_every_row(model: Driver, steps: int) -> None:
    """A preview a step and row; the last is the row of the answer, which is that without a stream."""
    events: list[Any] = []
    body = body_of(ask(model, count=2, seed=1, stream=True, emit=events.append))
    told = [(event["step"], event["row"], event["steps"]) for event in events]
    assert told == [(step, row, steps) for step in range(steps) for row in (0, 1)]
    assert [json.loads(render_json(event))["preview"] for event in events[-2:]] == body["outputs"]
    assert body == body_of(ask(model, count=2, seed=1))


@pytest.mark.parametrize("model", [ONE_RUN, DIFFUSER], ids=["one run", "diffusion"])
def test_pictures_come_as_base64_in_answers_and_events_or_as_one(model: Driver) -> None:
    """PNGs of the rows' own size. With Accept: image/png the rows are one picture, a grid."""
    events: list[Any] = []
    body = body_of(ask(model, count=2, output_format="picture", stream=True, emit=events.append))
    for value in (*body["outputs"], *(event["preview"] for event in events)):
        assert Pillow.open(io.BytesIO(base64.b64decode(value["image"]))).size == (2, 2)
    grid = ask(model, count=4, wants_picture=True)
    assert grid.media_type == "image/png"
    assert min(Pillow.open(io.BytesIO(grid.body)).size) >= 2 * 64


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_reference_diffusion_gives_the_same_bits_in_any_company(eta: float) -> None:
    """Row 0 alone and among eleven, on the model that is shipped; its pixels are in 0..16."""
    model = load("digits-diffusion")
    many = outputs(model, count=11, seed=12, steps=4, eta=eta)
    alone = outputs(model, count=1, seed=12, steps=4, eta=eta)
    assert many[:1].tobytes() == alone.tobytes()
    assert many.shape == (11, 1, 8, 8)
    assert (many.min() >= 0, many.max() <= 16) == (True, True)
