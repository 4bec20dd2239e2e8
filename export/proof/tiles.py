"""Tiles: finds how a picture may be cut so that its joined parts equal the graph's output for the whole.

A copy of the graph shows how far away the pixels are on which an output depends. In the copy, operators that may lose a
NaN are replaced by others that keep it. One part of a picture is set to NaN; every output that depends on it becomes
NaN. Moving the border pixel by pixel shows the stride too, and shifted pictures confirm it. Finally, pictures of
several tiles are run whole and in tiles, and compared.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from pydantic import ValidationError

from export.errors import Element, ExportError, ParityError, SpecError
from export.inputs import make_random, real_samples
from export.onnx.weights import Files
from export.runtime import Runtime
from export.spec import BATCH, ExportSpec, GraphSpec, Progress
from model_store.manifest import describe
from model_store.tasks import Reconstruction, Tiles

_ATOL = 1e-4
_ERROR_RTOL = 1e-4
"""The relative tolerance of the error, which a graph sums in float32."""
_SIDES, _THIN = (256, 1024), 128
_LONGEST_PERIOD, _LONGEST_STRIDE = 32, 64
_ELEMENTWISE = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Gelu", "Clip", "HardSigmoid", "HardSwish", "Mish", "Sigmoid"}
    | {"Tanh", "Erf", "Softplus", "Softsign", "ThresholdedRelu", "Sign", "Floor", "Ceil", "Round", "Exp", "Abs"}
)
"""Operators that depend only on the same place of their first input, and may lose a NaN."""


@dataclass(frozen=True, slots=True)
class _Pictures:
    """A graph from pictures to pictures. ``sides`` are the names of the height and width axes."""

    spec: GraphSpec
    input: str
    output: str
    error: str | None
    sides: tuple[str, str]

    def draw(self, height: int, width: int, seed: int = 0) -> np.ndarray:
        """A random picture, [1, channels, height, width]."""
        tall, wide = self.sides
        return make_random(self.spec, {BATCH: 1, tall: height, wide: width}, seed)[self.input]

    def run(self, runtime: Runtime, picture: np.ndarray) -> np.ndarray:
        return runtime.run({self.input: np.ascontiguousarray(picture)})[self.output]


def find_tiles(
    spec: ExportSpec,
    facts: Reconstruction,
    graphs: Mapping[str, GraphSpec],
    runtimes: Mapping[str, Runtime],
    files: Mapping[str, Files],
    progress: Progress,
) -> Tiles:
    """Proved tiles of ``spec.tile_pixels`` that hold for all graphs of ``facts``.

    Raises SpecError if the graph cannot be cut like that, and ParityError if the tiles differ from the whole.
    """
    stride, reach = 1, 0
    for name in facts.graphs:
        progress(f"tiles: pixels on which outputs of {name} depend")
        pictures = pictures_of(graphs[name], facts)
        its_stride, its_reach = measure_reach(pictures, runtimes[name], files[name])
        stride, reach = math.lcm(stride, its_stride), max(reach, its_reach)
    overlap = -(-reach // stride) * stride
    if spec.tile_overlap is not None:
        if spec.tile_overlap < reach:
            raise SpecError(
                f"{spec.name}: tile_overlap: expected at least {overlap} pixels, because an output depends on pixels "
                f"{reach} away, got {spec.tile_overlap}: leave it out to have it found"
            )
        overlap = spec.tile_overlap
    kinds: set[str | None] = {None} if facts.error is None else {"mean_square", "root_mean_square"}
    try:
        tiles = Tiles.model_validate({"size": spec.tile_pixels, "overlap": overlap, "stride": stride})
    except ValidationError as error:
        raise SpecError(
            f"{spec.name}: tile_pixels, tile_overlap: {describe(error)}: an output depends on pixels {reach} away, and "
            f"tiles begin at multiples of {stride}"
        ) from None
    for name in facts.graphs:
        progress(f"tiles and wholes: {name}")
        kinds &= check_tiles(pictures_of(graphs[name], facts), runtimes[name], tiles)
    if not kinds:
        raise SpecError(
            f"{spec.name}: tile_pixels: {facts.error!r} is neither the mean of the squared differences nor its root, "
            "so it cannot be computed from tiles: leave tile_pixels out, or return one of these",
        )
    return Tiles.model_validate({**tiles.model_dump(), "error": min(kinds, key=str)})


def pictures_of(spec: GraphSpec, facts: Reconstruction) -> _Pictures:
    [name] = spec.inputs
    return _Pictures(spec, name, facts.output, facts.error, (spec.axes[name][2], spec.axes[name][3]))


def measure_reach(pictures: _Pictures, runtime: Runtime, files: Files) -> tuple[int, int]:
    """The stride at which tiles may begin, and the distance in pixels of the furthest pixel that affects an output."""
    transparent = Runtime(_make_transparent(files), files.external)
    for side in _SIDES:
        found = []
        for cut in range(side // 2, side // 2 + 2 * _LONGEST_PERIOD):
            reaches = _look(pictures, transparent, side, cut)
            if reaches is None:
                break
            found.append(reaches)
        else:
            reach = max(map(max, found))
            return _find_stride(pictures, runtime, side, _find_period(found), reach), reach
    raise SpecError(
        f"{pictures.spec.name}: tile_pixels: its outputs depend on pixels {_SIDES[-1] // 2} away or more, for example "
        "through attention, a mean or a normalisation over the whole picture, so tiles would differ from the whole: "
        "leave tile_pixels out"
    )


def _make_transparent(files: Files) -> bytes:
    """A graph with the same connections that never loses a NaN."""
    model = onnx.load_from_string(files.content)
    for node in model.graph.node:
        if node.domain:
            continue
        if node.op_type in _ELEMENTWISE:
            node.op_type = "Identity"
            del node.input[1:]
            del node.attribute[:]
        elif node.op_type == "MaxPool" and len(node.output) == 1:
            node.op_type = "AveragePool"
            kept = [attribute for attribute in node.attribute if attribute.name != "storage_order"]
            del node.attribute[:]
            node.attribute.extend(kept)
    content: bytes = model.SerializeToString()
    return content


def _look(pictures: _Pictures, transparent: Runtime, side: int, cut: int) -> list[int] | None:
    """How far beyond ``cut`` the pixels are that affect outputs on its other side, in both directions and on both axes.

    None: up to the end of the picture. Raises SpecError if that cannot be seen.
    """
    reaches = []
    for axis, is_first in itertools.product((2, 3), (True, False)):
        picture = pictures.draw(*((side, _THIN) if axis == 2 else (_THIN, side)))
        half = slice(cut) if is_first else slice(cut, None)
        picture[(slice(None),) * axis + (half,)] = np.nan
        lost = np.isnan(pictures.run(transparent, picture)).any(axis=tuple({0, 1, 2, 3} - {axis}))
        if not lost.any():
            raise SpecError(
                f"{pictures.spec.name}: tile_pixels: the pixels on which an output depends cannot be found, because "
                "the graph loses NaN: leave tile_pixels out"
            )
        if lost.all():
            return None
        places = np.flatnonzero(lost)
        reaches.append(int(places[-1]) + 1 - cut if is_first else cut - int(places[0]))
    return reaches


def _find_period(found: list[list[int]]) -> int:
    """The number of pixels after which the reaches repeat."""
    return next(
        (period for period in range(1, _LONGEST_PERIOD + 1) if found[period:] == found[:-period]), _LONGEST_PERIOD
    )


def _find_stride(pictures: _Pictures, runtime: Runtime, side: int, period: int, reach: int) -> int:
    """The least multiple of ``period`` such that a shifted picture gives equally shifted outputs."""
    picture = pictures.draw(side, side)
    whole = pictures.run(runtime, picture)
    for stride in range(period, _LONGEST_STRIDE + 1, period):
        try:
            shifted = pictures.run(runtime, picture[:, :, stride:, stride:])
        except ExportError:  # it does not accept pictures of that size
            continue
        expected = whole[:, :, stride + reach :, stride + reach :]
        if not expected.size or np.abs(shifted[:, :, reach:, reach:] - expected).max() <= _ATOL:
            return stride
    raise SpecError(
        f"{pictures.spec.name}: tile_pixels: its outputs depend on where a picture begins, for example through learned "
        "positions, so tiles would differ from the whole: leave tile_pixels out"
    )


def check_tiles(pictures: _Pictures, runtime: Runtime, tiles: Tiles) -> set[str | None]:
    """The forms that the graph's error may have. Raises ParityError if joined tiles differ from the whole."""
    kinds: set[str | None] = {None} if pictures.error is None else {"mean_square", "root_mean_square"}
    tried = 0
    for case, picture in _make_wholes(pictures, tiles):
        try:
            outputs = runtime.run({pictures.input: picture})
        except ExportError:  # it does not accept pictures of that size
            continue
        tried += 1
        whole, joined = outputs[pictures.output], join(pictures, runtime, tiles, picture)
        difference = np.abs(joined - whole)
        if difference.max() > _ATOL:
            place = tuple(int(i) for i in np.unravel_index(int(np.argmax(difference)), difference.shape))
            worst = Element(pictures.output, place, float(whole[place]), float(joined[place]), _ATOL)
            raise ParityError(
                f"{pictures.spec.name}: tiles of {tiles.size} with an overlap of {tiles.overlap} differ from the "
                f"whole at {case}; worst element {worst}: give a larger tile_overlap, or leave tile_pixels out",
                case,
                worst,
            )
        if pictures.error is not None:
            mean = float(np.square(joined - picture, dtype=np.float64).mean())
            error = float(outputs[pictures.error][0])
            of_kinds = {"mean_square": mean, "root_mean_square": mean**0.5}
            kinds &= {kind for kind, value in of_kinds.items() if math.isclose(value, error, rel_tol=_ERROR_RTOL)}
    if not tried:
        raise SpecError(
            f"{pictures.spec.name}: tile_pixels: the graph accepts no picture of several tiles: leave it out"
        )
    return kinds


def _make_wholes(pictures: _Pictures, tiles: Tiles) -> Iterator[tuple[str, np.ndarray]]:
    """Pictures of several tiles in both directions, with smaller tiles at the edges."""
    size, step = tiles.size, tiles.size - 2 * tiles.overlap
    samples = real_samples(pictures.spec)
    for height, width in ((size + step // 2 + 1, 2 * size + 1), (size + step + tiles.stride, size + tiles.stride)):
        yield f"random, {height} x {width}", pictures.draw(height, width)
        if samples is not None:
            sample = samples[pictures.input][:1]
            tall, wide = (-(-length // have) for length, have in zip((height, width), sample.shape[2:], strict=True))
            repeated = np.tile(sample, (1, 1, tall, wide))[:, :, :height, :width]
            yield f"a sample repeated, {height} x {width}", np.ascontiguousarray(repeated)


def join(pictures: _Pictures, runtime: Runtime, tiles: Tiles, picture: np.ndarray) -> np.ndarray:
    """The output for a picture [1, channels, height, width], computed tile by tile."""
    joined = np.empty_like(picture)
    for lines, columns in tiles.cut(*picture.shape[2:]):
        part = pictures.run(runtime, picture[:, :, lines.begin : lines.end, columns.begin : columns.end])
        kept = part[
            :,
            :,
            lines.kept_begin - lines.begin : lines.kept_end - lines.begin,
            columns.kept_begin - columns.begin : columns.kept_end - columns.begin,
        ]
        joined[:, :, lines.kept_begin : lines.kept_end, columns.kept_begin : columns.kept_end] = kept
    return joined
