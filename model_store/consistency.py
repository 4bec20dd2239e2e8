"""Checks that what a manifest says about tasks fits its graphs. Raises ValueError, which names the field."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from model_store.graph import MAIN, Graph, Tensor
from model_store.tasks import Carry, Classes, Forecast, Generation, Image, Loop, Reconstruction, Text, Tiles

_FLOATS = ("FP16", "FP32", "FP64")


class _Place(NamedTuple):
    """A tensor of a graph, for messages: ``input 'x' of the graph 'main'``."""

    graph: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} of the graph {self.graph!r}"


class Described(Protocol):
    """The parts of a manifest that describe its graphs."""

    @property
    def task(self) -> str: ...
    @property
    def graphs(self) -> Mapping[str, Graph]: ...
    @property
    def graph_golden(self) -> Collection[str]: ...
    @property
    def graph_parity(self) -> Collection[str]: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def classes(self) -> Classes | None: ...
    @property
    def image(self) -> Image | None: ...
    @property
    def loop(self) -> Loop | None: ...
    @property
    def forecast(self) -> Forecast | None: ...
    @property
    def text(self) -> Text | None: ...
    @property
    def reconstruction(self) -> Reconstruction | None: ...
    @property
    def generation(self) -> Generation | None: ...


def check(manifest: Described) -> None:
    if MAIN not in manifest.graphs:
        raise ValueError(f"graphs: expected one called 'main', got {', '.join(manifest.graphs) or 'none'}")
    for name in (*manifest.graph_golden, *manifest.graph_parity):
        if name == MAIN or name not in manifest.graphs:
            raise ValueError(f"graph_golden, graph_parity: there is no further graph {name!r}")
    _check_task(manifest)
    if manifest.image:
        _check_image(manifest.graphs[MAIN], manifest.image)
    if manifest.task == "classify":
        _check_classes(manifest, manifest.classes)
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


def _find(manifest: Described, field: str, place: _Place) -> Tensor:
    graph = manifest.graphs.get(place.graph)
    if graph is None:
        raise ValueError(f"{field}: there is no graph {place.graph!r}, only {', '.join(manifest.graphs)}")
    tensors = graph.inputs if place.kind == "input" else graph.outputs
    found = next((t for t in tensors if t.name == place.name), None)
    if found is None:
        have = ", ".join(t.name for t in tensors)
        raise ValueError(f"{field}: there is no {place}, only {have}")
    return found


def _expect(
    manifest: Described, field: str, place: _Place, datatypes: Sequence[str], axes: Sequence[int | str | None] | None
) -> Tensor:
    """The tensor, checked: it has a batch axis, one of ``datatypes``, and rows of shape ``axes``.

    An element of ``axes`` is a size, "" for a free axis, or None for either. ``axes`` None: any shape.
    """
    tensor = _find(manifest, field, place)
    if tensor.batch_axis != 0:
        raise ValueError(f"{field}: {place} needs a batch axis, the first")
    if tensor.datatype not in datatypes:
        raise ValueError(f"{field}: {place}: expected {' or '.join(datatypes)}, got {tensor.datatype}")
    if axes is not None:
        fits = len(axes) == len(tensor.row_shape) and all(
            wanted is None or wanted == got or (wanted == "" and isinstance(got, str))
            for wanted, got in zip(axes, tensor.row_shape, strict=True)
        )
        if not fits:
            shown = [("free" if axis == "" else "any" if axis is None else axis) for axis in axes]
            raise ValueError(f"{field}: {place}: expected rows of {shown}, got {list(tensor.row_shape)}")
    return tensor


def _check_image(main: Graph, image: Image) -> None:
    row_shape = next((t.row_shape for t in main.inputs if t.name == image.input), None)
    if row_shape is None:
        raise ValueError(f"image.input {image.input!r} is not an input of the graph 'main'")
    if (image.height is None) != (image.width is None):
        raise ValueError("image: expected both height and width, or neither")
    picture = (image.channels, image.height, image.width)
    fits = len(row_shape) == 3 and all(isinstance(w, str) or w == g for w, g in zip(row_shape, picture, strict=True))
    if not fits:
        raise ValueError(f"image: {image.input!r} has rows of {row_shape}, the picture would be {picture}")


def _check_classes(manifest: Described, classes: Classes | None) -> None:
    main = manifest.graphs[MAIN]
    if not manifest.labels or classes is None:
        raise ValueError("task classify needs labels and classes")
    if any(t.batch_axis != 0 for t in (*main.inputs, *main.outputs)):
        raise ValueError("task classify needs a batch axis, the first, in every tensor of the graph 'main'")
    outputs = {t.name: t for t in main.outputs}
    for name in (classes.probabilities, classes.logits):
        if name is None:
            continue
        if name not in outputs:
            have = ", ".join(outputs)
            raise ValueError(f"classes: {name!r} is not an output of the graph 'main', which has {have}")
        if outputs[name].row_shape != (len(manifest.labels),):
            shape = outputs[name].row_shape
            raise ValueError(f"classes: {name!r} has rows of {shape}, but there are {len(manifest.labels)} labels")


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
    diffusion = generation.diffusion if generation else None
    return {
        forecast and forecast.noise,
        text and text.token,
        *((generation.noise, generation.label) if generation else ()),
        *((diffusion.time, diffusion.next_time, diffusion.step_noise) if diffusion else ()),
        *((diffusion.guidance, diffusion.eta) if diffusion else ()),
    }


def _check_carry(manifest: Described, carry: Carry, start: str | None) -> None:
    field = f"loop.carries of {carry.input!r}"
    taken = _find(manifest, field, _Place(MAIN, "input", carry.input))
    if (carry.start or carry.resume) and start is None:
        raise ValueError(f"{field}: there is no start graph")
    if carry.resume and not carry.start:
        raise ValueError(f"{field}: expected it to start with an output of the start graph, which resumes it")
    others = [(MAIN, "output", carry.output)]
    if start is not None:
        others += [(start, "output", carry.start), (start, "input", carry.resume)]
    for graph, kind, name in others:
        if name is None:
            continue
        place = _Place(graph, kind, name)
        tensor = _find(manifest, field, place)
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
    _expect(manifest, "forecast.history", _Place(first, "input", facts.history), _FLOATS, ("",))
    if facts.length is not None:
        _expect(manifest, "forecast.length", _Place(first, "input", facts.length), ("INT64",), ())
    if facts.least_history > facts.max_history:
        raise ValueError(f"forecast: least_history {facts.least_history} is above max_history {facts.max_history}")
    if list(facts.quantiles) != sorted(set(facts.quantiles)):
        raise ValueError(f"forecast.quantiles: expected rising numbers, got {list(facts.quantiles)}")
    output = _Place(MAIN, "output", facts.output)
    if loop is None:
        if facts.horizon is None:
            raise ValueError("forecast.horizon: expected the number of values in the output, because there is no loop")
        axes = (facts.horizon, len(facts.quantiles)) if facts.quantiles else (facts.horizon,)
        _expect(manifest, "forecast.output", output, _FLOATS, axes)
        return
    if facts.horizon is not None or facts.quantiles:
        raise ValueError(
            "forecast: expected neither horizon nor quantiles in a loop: the server computes them from draws"
        )
    _expect(manifest, "forecast.output", output, _FLOATS, ())
    if facts.noise is not None:
        _expect(manifest, "forecast.noise", _Place(MAIN, "input", facts.noise), _FLOATS, ())


def _check_text(manifest: Described, facts: Text) -> None:
    loop = manifest.loop
    if loop is None or loop.start is None:
        raise ValueError("text: expected a loop with a start graph")
    _expect(manifest, "text.source", _Place(loop.start, "input", facts.source), ("INT64",), ("",))
    _expect(manifest, "text.token", _Place(MAIN, "input", facts.token), ("INT64",), ())
    _expect(manifest, "text.scores", _Place(MAIN, "output", facts.scores), _FLOATS, (len(facts.symbols),))
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
        _expect(manifest, "reconstruction.output", _Place(graph, "output", facts.output), _FLOATS, None)
        for field, name in (("error", facts.error), ("anomaly", facts.anomaly)):
            if name is not None:
                _expect(manifest, f"reconstruction.{field}", _Place(graph, "output", name), _FLOATS, ())
        if facts.tiles is not None:
            _check_tiles(manifest, graph, facts, facts.tiles)


def _check_tiles(manifest: Described, graph: str, facts: Reconstruction, tiles: Tiles) -> None:
    names = [tensor.name for tensor in manifest.graphs[graph].inputs]
    if len(names) != 1:
        raise ValueError(f"reconstruction.tiles: expected a graph with one input, {graph!r} has {', '.join(names)}")
    row = _expect(manifest, "reconstruction.tiles", _Place(graph, "input", names[0]), _FLOATS, (None, "", ""))
    _expect(manifest, "reconstruction.tiles", _Place(graph, "output", facts.output), _FLOATS, row.row_shape)
    if facts.anomaly not in (None, facts.error):
        raise ValueError(
            f"reconstruction.tiles: expected no anomaly output but the error, got {facts.anomaly!r}: tiles cannot give "
            "it"
        )
    if (tiles.error is None) != (facts.error is None):
        raise ValueError("reconstruction.tiles.error: expected it exactly if reconstruction.error names an output")


def _check_generation(manifest: Described, facts: Generation) -> None:
    _expect(manifest, "generation.output", _Place(facts.graph, "output", facts.output), _FLOATS, None)
    noise = _expect(manifest, "generation.noise", _Place(facts.graph, "input", facts.noise), _FLOATS, None)
    if not noise.has_fixed_rows:
        raise ValueError(f"generation.noise: expected rows of fixed size, got {list(noise.row_shape)}")
    if facts.label is not None:
        _expect(manifest, "generation.label", _Place(facts.graph, "input", facts.label), ("INT64",), ())
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
        _expect(manifest, "generation.diffusion", _Place(MAIN, "input", name), ("INT64",), ())
    for name in filter(None, (diffusion.guidance, diffusion.eta)):
        _expect(manifest, "generation.diffusion", _Place(MAIN, "input", name), _FLOATS, ())
    _expect(manifest, "generation.diffusion", _Place(MAIN, "output", diffusion.preview), _FLOATS, noise.row_shape)
    if diffusion.step_noise is not None:
        _expect(manifest, "generation.diffusion", _Place(MAIN, "input", diffusion.step_noise), _FLOATS, noise.row_shape)
    if diffusion.steps > min(diffusion.times, loop.max_steps):
        most = min(diffusion.times, loop.max_steps)
        raise ValueError(f"generation.diffusion.steps: expected at most {most}, got {diffusion.steps}")
