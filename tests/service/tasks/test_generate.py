"""generate: rows from noise, in one run or by a diffusion."""

import base64
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
from service.tasks import generate
from service.tasks.diffusion import choose_levels, plan_loop_request, read_sampling
from service.tasks.request import TaskRequest
from service.tasks.work import Limits, Result
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
    flat = ("time", "next_time", "label", "guidance", "eta")
    cast = [helper.make_node("Cast", [name], [f"{name}_number"], to=FLOAT) for name in flat[:3]]
    wide = [
        helper.make_node("Reshape", [name if name in flat[3:] else f"{name}_number", "column"], [f"{name}_wide"])
        for name in flat
    ]
    sums = [
        helper.make_node("Mul", ["sample", "half"], ["halved"]),
        helper.make_node("Mul", ["eta_wide", "noise"], ["drawn"]),
        helper.make_node("Mul", ["guidance_wide", "label_wide"], ["guided"]),
        helper.make_node("Sum", ["halved", "drawn", "guided"], ["next_sample"]),
        helper.make_node("Mul", ["time_wide", "thousand"], ["level"]),
        helper.make_node("Sum", ["next_sample", "level", "next_time_wide"], ["preview"]),
    ]
    numbers: list[Any] = [
        (name, INT64 if name in flat[:3] else FLOAT, ["batch"]) for name in flat if name not in without
    ]
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
    diffusion = {
        "time": "time",
        "next_time": "next_time",
        "times": 50,
        "preview": "preview",
        "step_noise": "noise",
        "guidance": "guidance",
        "eta": "eta",
        "steps": 5,
        "default_guidance": 0.5,
    }
    facts = {"output": "preview", "noise": "sample", "label": "label", "picture": PICTURE}
    return make(
        {"main": denoise([name for name, value in changes.items() if value is None])},
        task="generate",
        labels=LABELS,
        loop={"carries": ({"input": "sample", "output": "next_sample"},), "max_steps": 40},
        generation={**facts, "diffusion": {**diffusion, **changes}},
    )


def ask(
    model: Driver,
    *,
    wants_picture: bool = False,
    rows: Any = None,
    loose: bool = False,
    emit: Any = None,
    limits: Limits = LIMITS,
    **fields: Any,
) -> Result:
    options = generate.Options.parse(fields, loose)
    request = TaskRequest(fields, rows, loose, wants_picture)
    return model.drive(generate.work(options, request, model.context, limits, emit))


def shown(event: Any) -> Any:
    """An event as its caller reads it."""
    return json.loads(render_json(event))


def outputs(model: Driver, **fields: Any) -> np.ndarray:
    return np.array(body_of(ask(model, **fields))["outputs"], np.float32)


ONE_RUN = one_run()
DIFFUSER = diffuser()


@pytest.mark.parametrize("count", [0, -1, 1025, 10**6, 10**30])
def test_count_outside_the_limit_is_refused(count: int) -> None:
    """The text names the limit."""
    with pytest.raises(InvalidInput, match=rf"^count: expected 1 to 1024, got {count}$"):
        ask(one_run(), count=count)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"count": 2.5}, "count: expected a valid integer"),
        ({"count": True}, "count: expected a valid integer"),
        ({"seed": -1}, "seed: expected greater than or equal to 0"),
        ({"seed": LARGEST_SEED + 1}, f"seed: expected less than or equal to {LARGEST_SEED}"),
        ({"labels": "ant"}, "labels: expected a valid list"),
        ({"labels": []}, "labels: expected one for all rows or one for each of 1, got 0"),
        ({"count": 3, "labels": ["ant", "bee"]}, "labels: expected one for all rows or one for each of 3, got 2"),
        ({"labels": ["dog"]}, r"labels\[0\]: expected one of ant, bee, cat, or a position 0 to 2, got 'dog'"),
        ({"labels": ["ant", "Bee"]}, r"labels\[1\]: expected one of .*, got 'Bee'"),
        ({"labels": [3]}, r"labels\[0\]: expected .*, got 3"),
        ({"labels": [-1]}, r"labels\[0\]: expected .*, got -1"),
        ({"labels": [True]}, "labels"),
        ({"steps": 3}, "steps: only a model with a diffusion takes it, and 'm' makes its rows in one run"),
        ({"guidance": 1.0}, "guidance: only a model with a diffusion takes it"),
        ({"eta": 0}, "eta: only a model with a diffusion takes it"),
        ({"interpolate": {"seeds": [1]}, "count": 2}, "interpolate.seeds: List should have at least 2 items"),
        ({"interpolate": [1, 2], "count": 2}, "interpolate: expected .*Between"),
        ({"interpolate": {"seeds": [1, 2]}}, "count: expected 2 or more with interpolate, which has two ends, got 1"),
        ({"interpolate": {"seeds": [1, 2]}, "count": 2, "seed": 3}, "seed: expected none beside interpolate"),
        ({"cuont": 3}, "cuont: unknown field"),
    ],
)
def test_faulty_option_is_refused(fields: dict[str, Any], complaint: str) -> None:
    """Named, with what was expected, before anything runs."""
    model = one_run()
    with pytest.raises(InvalidInput, match=f"^{complaint}"):
        ask(model, **fields)
    assert model.inferred == []


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"steps": 0}, "steps: expected 1 to 40, got 0"),
        ({"steps": 41}, "steps: expected 1 to 40, got 41"),
        ({"steps": 10**9}, "steps: expected 1 to 40, got 1000000000"),
        ({"eta": 1.1}, "eta: expected less than or equal to 1"),
        ({"eta": float("nan")}, "eta: expected"),
        ({"guidance": float("inf")}, "guidance: expected less than or equal to 100"),
        ({"interpolate": {"seeds": [1, 2]}, "count": 2}, "interpolate: expected a model that makes its rows in one"),
    ],
)
def test_faulty_option_of_a_diffusion_is_refused(fields: dict[str, Any], complaint: str) -> None:
    """Steps are bounded by the levels, the loop and the server."""
    with pytest.raises(InvalidInput, match=f"^{complaint}"):
        ask(diffuser(), **fields)


def test_steps_are_bounded_by_the_levels_and_the_server_too() -> None:
    """The least of all limits is the one that is named."""
    with pytest.raises(InvalidInput, match=r"^steps: expected 1 to 6, got 7$"):
        ask(diffuser(times=6), steps=7)
    with pytest.raises(InvalidInput, match=r"^steps: expected 1 to 3, got 4$"):
        ask(diffuser(), steps=4, limits=Limits(max_pixels=1, max_steps=3))


def test_what_a_diffusion_has_no_input_for_is_refused() -> None:
    """Never ignored. Its graph cannot run without them here, which is after the refusal."""
    with pytest.raises(InvalidInput, match=r"^guidance: expected none, for model 'm' takes none$"):
        ask(diffuser(guidance=None), guidance=1.0)
    with pytest.raises(InvalidInput, match=r"^eta: expected none, for model 'm' takes none$"):
        ask(diffuser(eta=None), eta=0.5)


@pytest.mark.parametrize(
    ("model", "arguments", "complaint"),
    [
        (one_run(), {"rows": [[1]]}, "inputs: expected none, for rows are made from noise"),
        (one_run(labelled=False), {"labels": ["ant"]}, "labels: expected none, for model 'm' takes none"),
        (one_run(picture=None), {"wants_picture": True}, "accept: image/png: the rows of model 'm' are not pictures"),
        (one_run(picture=None), {"output_format": "picture"}, "output_format: the rows of model 'm' are not pictures"),
        (one_run(), {"wants_picture": True, "stream": True}, "accept: image/png is one picture, and a stream has"),
        (make({"main": shift()}), {}, "model: the manifest of 'm' does not say what it generates"),
    ],
)
def test_what_a_model_cannot_do_is_refused(model: Driver, arguments: Any, complaint: str) -> None:
    """With the reason."""
    with pytest.raises(InvalidInput, match=f"^{complaint}"):
        ask(model, **arguments)


def test_sample_that_is_no_number_is_a_failure_of_the_model() -> None:
    """As any output of any task."""
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
    """Row i is what the model makes of the noise of (seed, i); classes come in turn."""
    body = body_of(ask(one_run(), count=4, seed=7))
    assert {k: v for k, v in body.items() if k != "outputs"} == {
        "model": "m",
        "version": "1",
        "seed": 7,
        "labels": ["ant", "bee", "cat", "ant"],
    }
    for row, output in enumerate(body["outputs"]):
        expected = draw_normal(7, row, 0, (1, 2, 2)) + np.float32(10 * (row % 3))
        np.testing.assert_array_equal(np.array(output, np.float32), expected)


def test_drawn_seed_is_returned_and_repeats_the_rows() -> None:
    """Without a seed one is drawn, another each time, exact in any caller's numbers."""
    model = one_run()
    first, second = body_of(ask(model)), body_of(ask(model))
    assert first["seed"] != second["seed"]
    assert max(first["seed"], second["seed"]) <= 2**53
    assert body_of(ask(model, seed=first["seed"])) == first


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
    body = body_of(ask(one_run(), seed=1, **fields))
    assert body["labels"] == expected
    positions = [LABELS.index(label) for label in expected]
    means = np.mean(
        np.array(body["outputs"]) - outputs(one_run(), seed=1, count=len(expected), labels=["ant"]), (1, 2, 3)
    )
    np.testing.assert_allclose(means, np.array(positions) * 10, atol=1e-5)


def test_model_without_labels_answers_without_them() -> None:
    """There are none to tell."""
    assert "labels" not in body_of(ask(one_run(labelled=False), count=2))


def test_query_says_the_same_as_json() -> None:
    """Lists and objects of a query string are read from their texts."""
    model = one_run()
    texts = {"count": "3", "seed": "5", "labels": "ant,bee,cat"}
    assert body_of(ask(model, loose=True, **texts)) == body_of(ask(model, count=3, seed=5, labels=[0, 1, 2]))
    between = body_of(ask(model, loose=True, count="2", interpolate='{"seeds": [1, 2]}'))
    assert between == body_of(ask(model, count=2, interpolate={"seeds": [1, 2]}))


def test_interpolation_goes_from_seed_to_seed() -> None:
    """The ends are the first rows of the seeds, bit for bit, and every row between is as long as noise is."""
    model = one_run(labelled=False)
    body = body_of(ask(model, count=9, interpolate={"seeds": [3, 4]}))
    rows = np.array(body["outputs"], np.float32)
    assert (body["seeds"], "seed" in body) == ([3, 4], False)
    for end, seed in ((rows[0], 3), (rows[-1], 4)):
        assert end.tobytes() == outputs(model, seed=seed)[0].tobytes()
    lengths = np.linalg.norm(rows.reshape(9, -1), axis=1)
    assert (lengths >= min(lengths[0], lengths[-1]) * 0.99).all()
    with_label = body_of(ask(one_run(), count=3, interpolate={"seeds": [3, 4]}, labels=["bee"]))
    assert with_label["labels"] == ["bee"] * 3
    assert body_of(ask(one_run(), count=3, interpolate={"seeds": [3, 4]}))["labels"] == ["ant"] * 3


def test_interpolation_between_equal_seeds_stays() -> None:
    """There is no way to go."""
    rows = outputs(one_run(labelled=False), count=3, interpolate={"seeds": [3, 3]})
    assert rows[0].tobytes() == rows[2].tobytes()
    np.testing.assert_allclose(rows[1], rows[0], atol=1e-6)


@pytest.mark.parametrize(
    ("steps", "levels", "next_levels"),
    [(1, [49], [-1]), (2, [49, 0], [0, -1]), (5, [49, 37, 24, 12, 0], [37, 24, 12, 0, -1])],
)
def test_levels_fall_evenly_and_end_with_none(steps: int, levels: list[int], next_levels: list[int]) -> None:
    """From the highest to 0, each leading to the next."""
    found, after = choose_levels(50, steps)
    assert (found.tolist(), after.tolist(), found.dtype, after.dtype) == (levels, next_levels, np.int64, np.int64)


def test_diffusion_is_the_update_of_the_graph_step_by_step() -> None:
    """With the levels of the steps, the guidance, the label and new noise at each step, as numpy says it."""
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
    assert facts is not None
    assert facts.diffusion is not None
    sampling = read_sampling(facts.diffusion, model.context, LIMITS, None, None, None)
    begin = {"sample": np.zeros((2, 1, 2, 2), np.float32)}
    request = plan_loop_request(begin, 5, sampling, model.context, facts, None, None)
    drawn = request.by_step["noise"](slice(1, 2), 3)
    np.testing.assert_array_equal(drawn, draw_normal(5, 1, 4, (1, 2, 2))[None])


def test_stream_shows_every_step_of_every_row() -> None:
    """A preview a step and row; the last is the row of the answer."""
    events: list[Any] = []
    model = diffuser()
    body = body_of(ask(model, count=2, seed=1, stream=True, emit=events.append))
    assert [(event["step"], event["row"], event["steps"]) for event in events] == [
        (s, r, 5) for s in range(5) for r in (0, 1)
    ]
    assert [shown(event)["preview"] for event in events[-2:]] == body["outputs"]
    assert body == body_of(ask(model, count=2, seed=1))


def test_stream_of_one_run_shows_each_row_once() -> None:
    """There is one step, which the events say."""
    events: list[Any] = []
    body = body_of(ask(one_run(), count=2, stream=True, emit=events.append))
    assert [(event["row"], event["step"], event["steps"]) for event in events] == [(0, 0, 1), (1, 0, 1)]
    assert [shown(event)["preview"] for event in events] == body["outputs"]


@pytest.mark.parametrize("model", [one_run(), diffuser()])
def test_pictures_come_as_base64_in_answers_and_events(model: Driver) -> None:
    """PNGs of the rows' own size."""
    events: list[Any] = []
    body = body_of(ask(model, count=2, output_format="picture", stream=True, emit=events.append))
    for value in (*body["outputs"], *(event["preview"] for event in events)):
        assert Pillow.open(io.BytesIO(base64.b64decode(value["image"]))).size == (2, 2)


def test_samples_are_one_picture_in_a_grid() -> None:
    """With Accept: image/png."""
    answer = ask(one_run(), count=4, wants_picture=True)
    assert answer.media_type == "image/png"
    assert min(Pillow.open(io.BytesIO(answer.body)).size) >= 2 * 64


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_reference_diffusion_gives_the_same_bits_in_any_company(eta: float) -> None:
    """Row 0 alone and among eleven, on the model that is shipped; its pixels are in 0..16."""
    model = load("digits-diffusion")
    many = outputs(model, count=11, seed=12, steps=4, eta=eta)
    alone = outputs(model, count=1, seed=12, steps=4, eta=eta)
    assert many[:1].tobytes() == alone.tobytes()
    assert many.shape == (11, 1, 8, 8)
    assert many.min() >= 0
    assert many.max() <= 16
