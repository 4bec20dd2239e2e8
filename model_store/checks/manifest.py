"""Checks that what a manifest says about tasks fits its graphs. Raises ValueError, which names the field."""

from model_store.checks.answers import check_tasks
from model_store.checks.described import FLOATS, Described, Place, expect, find
from model_store.checks.language import check_language
from model_store.graph import MAIN
from model_store.tasks import Carry, Forecast, Generation, Loop, Reconstruction, Text, Tiles


def check(manifest: Described) -> None:
    if MAIN not in manifest.graphs:
        raise ValueError(f"graphs: expected one called 'main', got {', '.join(manifest.graphs) or 'none'}")
    for name in (*manifest.graph_golden, *manifest.graph_parity):
        if name == MAIN or name not in manifest.graphs:
            raise ValueError(f"graph_golden, graph_parity: there is no further graph {name!r}")
    _check_task(manifest)
    check_tasks(manifest)
    check_language(manifest)
    if manifest.loop:
        _check_loop(manifest, manifest.loop)
    if manifest.forecast:
        _check_forecast(manifest, manifest.forecast)
    if manifest.text:
        _check_text(manifest, manifest.text)
    if manifest.reconstruction:
        _check_reconstruction(manifest, manifest.reconstruction)
    if manifest.generation:
        _check_generation(manifest, manifest.generation)


def _check_task(manifest: Described) -> None:
    """Refuse BF16 on task routes: they answer in JSON, which has no BF16."""
    if manifest.task == "tensors":
        return
    for name, graph in manifest.graphs.items():
        found = next((t.name for t in (*graph.inputs, *graph.outputs) if t.datatype == "BF16"), None)
        if found is not None:
            raise ValueError(
                f"task {manifest.task}: {found!r} of the graph {name!r} is BF16, which only the task tensors carries: "
                "cast it to FP32 in the graph"
            )


def _check_loop(manifest: Described, loop: Loop) -> None:
    main = manifest.graphs[MAIN]
    if any(t.batch_axis != 0 for t in (*main.inputs, *main.outputs)):
        raise ValueError("loop: every tensor of the graph 'main' needs a batch axis, the first")
    if loop.start == MAIN:
        raise ValueError("loop.start: expected another graph than 'main'")
    names = [carry.input for carry in loop.carries]
    if len(set(names)) < len(names):
        raise ValueError(f"loop.carries: expected each input once, got {', '.join(names)}")
    for carry in loop.carries:
        _check_carry(manifest, carry, loop.start)
    given = {*names, *_step_inputs(manifest)}
    if unknown := [t.name for t in main.inputs if t.name not in given]:
        raise ValueError(
            f"loop: nothing says what to pass to the inputs {', '.join(unknown)} of the graph 'main': carry them, or "
            "name them in a task"
        )


def _step_inputs(manifest: Described) -> set[str | None]:
    """The inputs of ``main`` that the description of a task gives a meaning."""
    forecast, text, generation = manifest.forecast, manifest.text, manifest.generation
    writing, sound = manifest.writing, manifest.sound
    diffusion = generation.diffusion if generation else None
    return {
        forecast and forecast.noise,
        text and text.token,
        *((writing.token, writing.prefix, writing.position) if writing else ()),
        *((sound.input, sound.length) if sound and sound.graph == MAIN else ()),
        *((generation.noise, generation.label) if generation else ()),
        *((diffusion.time, diffusion.next_time, diffusion.step_noise) if diffusion else ()),
        *((diffusion.guidance, diffusion.eta) if diffusion else ()),
    }


def _check_carry(manifest: Described, carry: Carry, start: str | None) -> None:
    field = f"loop.carries of {carry.input!r}"
    taken = find(manifest, field, Place(MAIN, "input", carry.input))
    if (carry.start or carry.resume) and start is None:
        raise ValueError(f"{field}: there is no start graph")
    if carry.resume and not carry.start:
        raise ValueError(f"{field}: expected it to start with an output of the start graph, which resumes it")
    others = [(MAIN, "output", carry.output)]
    if start is not None:
        passed_on = start in manifest.graphs and carry.start in {t.name for t in manifest.graphs[start].inputs}
        others += [(start, "input" if passed_on else "output", carry.start), (start, "input", carry.resume)]
    for graph, kind, name in others:
        if name is None:
            continue
        place = Place(graph, kind, name)
        tensor = find(manifest, field, place)
        same = len(tensor.row_shape) == len(taken.row_shape) and all(
            isinstance(a, str) or isinstance(b, str) or a == b
            for a, b in zip(tensor.row_shape, taken.row_shape, strict=True)
        )
        if tensor.batch_axis != 0 or tensor.datatype != taken.datatype or not same:
            raise ValueError(
                f"{field}: {place} has {tensor.datatype} rows of {list(tensor.row_shape)}, expected {taken.datatype} "
                f"rows of {list(taken.row_shape)} like the input that takes them"
            )


def _check_forecast(manifest: Described, facts: Forecast) -> None:
    loop = manifest.loop
    first = loop.start if loop and loop.start else MAIN
    expect(manifest, "forecast.history", Place(first, "input", facts.history), FLOATS, ("",))
    if facts.length is not None:
        expect(manifest, "forecast.length", Place(first, "input", facts.length), ("INT64",), ())
    if facts.least_history > facts.max_history:
        raise ValueError(f"forecast: least_history {facts.least_history} is above max_history {facts.max_history}")
    if list(facts.quantiles) != sorted(set(facts.quantiles)):
        raise ValueError(f"forecast.quantiles: expected rising numbers, got {list(facts.quantiles)}")
    output = Place(MAIN, "output", facts.output)
    if loop is None:
        if facts.horizon is None:
            raise ValueError("forecast.horizon: expected the number of values in the output, because there is no loop")
        axes = (facts.horizon, len(facts.quantiles)) if facts.quantiles else (facts.horizon,)
        expect(manifest, "forecast.output", output, FLOATS, axes)
        return
    if facts.horizon is not None or facts.quantiles:
        raise ValueError(
            "forecast: expected neither horizon nor quantiles in a loop: the server computes them from draws"
        )
    expect(manifest, "forecast.output", output, FLOATS, ())
    if facts.noise is not None:
        expect(manifest, "forecast.noise", Place(MAIN, "input", facts.noise), FLOATS, ())


def _check_text(manifest: Described, facts: Text) -> None:
    loop = manifest.loop
    if loop is None or loop.start is None:
        raise ValueError("text: expected a loop with a start graph")
    expect(manifest, "text.source", Place(loop.start, "input", facts.source), ("INT64",), ("",))
    expect(manifest, "text.token", Place(MAIN, "input", facts.token), ("INT64",), ())
    expect(manifest, "text.scores", Place(MAIN, "output", facts.scores), FLOATS, (len(facts.symbols),))
    if max(facts.begin, facts.end) >= len(facts.symbols) or facts.begin == facts.end:
        raise ValueError(f"text: begin {facts.begin} and end {facts.end}: expected two of {len(facts.symbols)} symbols")
    if list(facts.lengths) != sorted(set(facts.lengths)):
        raise ValueError(f"text.lengths: expected rising numbers, got {list(facts.lengths)}")
    if len(set(facts.characters)) < len(facts.characters) or facts.characters[0]:
        raise ValueError("text.characters: expected different ones, with an empty text for padding in front")


def _check_reconstruction(manifest: Described, facts: Reconstruction) -> None:
    first = manifest.graphs.get(facts.graphs[0])
    for graph in facts.graphs:
        if first and graph in manifest.graphs and manifest.graphs[graph].inputs != first.inputs:
            raise ValueError(f"reconstruction.graphs: {graph!r} takes other inputs than {facts.graphs[0]!r}")
        expect(manifest, "reconstruction.output", Place(graph, "output", facts.output), FLOATS, None)
        for field, name in (("error", facts.error), ("anomaly", facts.anomaly)):
            if name is not None:
                expect(manifest, f"reconstruction.{field}", Place(graph, "output", name), FLOATS, ())
        if facts.tiles is not None:
            _check_tiles(manifest, graph, facts, facts.tiles)


def _check_tiles(manifest: Described, graph: str, facts: Reconstruction, tiles: Tiles) -> None:
    names = [tensor.name for tensor in manifest.graphs[graph].inputs]
    if len(names) != 1:
        raise ValueError(f"reconstruction.tiles: expected a graph with one input, {graph!r} has {', '.join(names)}")
    row = expect(manifest, "reconstruction.tiles", Place(graph, "input", names[0]), FLOATS, (None, "", ""))
    expect(manifest, "reconstruction.tiles", Place(graph, "output", facts.output), FLOATS, row.row_shape)
    if facts.anomaly not in (None, facts.error):
        raise ValueError(
            f"reconstruction.tiles: expected no anomaly output but the error, got {facts.anomaly!r}: tiles cannot give "
            "it"
        )
    if (tiles.error is None) != (facts.error is None):
        raise ValueError("reconstruction.tiles.error: expected it exactly if reconstruction.error names an output")


def _check_generation(manifest: Described, facts: Generation) -> None:
    expect(manifest, "generation.output", Place(facts.graph, "output", facts.output), FLOATS, None)
    noise = expect(manifest, "generation.noise", Place(facts.graph, "input", facts.noise), FLOATS, None)
    if not noise.has_fixed_rows:
        raise ValueError(f"generation.noise: expected rows of fixed size, got {list(noise.row_shape)}")
    if facts.label is not None:
        expect(manifest, "generation.label", Place(facts.graph, "input", facts.label), ("INT64",), ())
        if not manifest.labels:
            raise ValueError("generation.label: expected labels in the manifest")
    if facts.diffusion is None:
        others = {t.name for t in manifest.graphs[facts.graph].inputs} - {facts.noise, facts.label}
        if others:
            raise ValueError(f"generation: nothing says what to pass to the inputs {', '.join(sorted(others))}")
        return
    diffusion, loop = facts.diffusion, manifest.loop
    if (
        loop is None
        or loop.start
        or facts.graph != MAIN
        or facts.noise not in {c.input for c in loop.carries if c.output}
    ):
        raise ValueError("generation.diffusion: expected a loop of 'main' that carries the noise input")
    for name in (diffusion.time, diffusion.next_time):
        expect(manifest, "generation.diffusion", Place(MAIN, "input", name), ("INT64",), ())
    for name in filter(None, (diffusion.guidance, diffusion.eta)):
        expect(manifest, "generation.diffusion", Place(MAIN, "input", name), FLOATS, ())
    expect(manifest, "generation.diffusion", Place(MAIN, "output", diffusion.preview), FLOATS, noise.row_shape)
    if diffusion.step_noise is not None:
        expect(manifest, "generation.diffusion", Place(MAIN, "input", diffusion.step_noise), FLOATS, noise.row_shape)
    if diffusion.steps > min(diffusion.times, loop.max_steps):
        most = min(diffusion.times, loop.max_steps)
        raise ValueError(f"generation.diffusion.steps: expected at most {most}, got {diffusion.steps}")
