"""What people can say about a model to import: as options of the command, or in ``model.toml`` beside the file."""

import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from export.errors import SpecError
from export.importers.facts import Fact, Facts
from model_store.manifest import ModelName, Task, describe
from model_store.strict_model import Count, Finite, Index, StrictModel
from model_store.tasks.detection import Share
from model_store.tasks.picture import Level

FILE = "model.toml"
_CHANNELS = 3


def read_number(value: Any) -> Any:
    """The number of a text such as ``1/255``; anything else as it is."""
    if not isinstance(value, str):
        return value
    above, _, below = value.partition("/")
    try:
        number = float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"expected a number, or a fraction such as 1/255, got {value!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number, got {value!r}")
    return number


def read_numbers(value: Any) -> Any:
    """One number, or three: ``1/255`` and ``0.485,0.456,0.406``."""
    if isinstance(value, str) and "," in value:
        value = value.split(",")
    if not isinstance(value, list | tuple):
        return read_number(value)
    if len(value) != _CHANNELS:
        raise ValueError(f"expected one number, or three, one for each channel, got {len(value)}")
    return tuple(read_number(part) for part in value)


def read_size(value: Any) -> Any:
    """A side, or height and width: ``224`` and ``480x640``."""
    if isinstance(value, str):
        parts = value.lower().split("x")
        if not all(part.strip().isdigit() for part in parts) or len(parts) > 2:
            raise ValueError(f"expected a side such as 224, or HEIGHTxWIDTH such as 480x640, got {value!r}")
        value = [int(part) for part in parts]
        if 0 in value:
            raise ValueError("expected sides of at least 1 pixel")
    if isinstance(value, list | tuple):
        return value[0] if len(value) == 1 else tuple(value)
    return value


def read_names(value: Any) -> Any:
    """Names in a text, with commas between them."""
    return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value


def read_overlap(value: Any) -> Any:
    return value if value == "none" else read_number(value)


Number = Annotated[Finite, BeforeValidator(read_number)]
Numbers = Annotated[Finite | tuple[Finite, Finite, Finite], BeforeValidator(read_numbers)]
Size = Annotated[Count | tuple[Count, Count], BeforeValidator(read_size)]
Activation = Literal["softmax", "sigmoid", "none"]
Layout = Literal["yolov5", "yolov8", "rtdetr", "end2end", "centerface", "centernet"]
"""How raw outputs hold boxes: see ``planning/layouts.py`` and ``planning/heat_maps.py``."""


class PictureOptions(StrictModel):
    """How a picture becomes the input: ``(level * scale - mean) / std`` for levels from 0 to 255."""

    input: str | None = None
    size: Size | None = None
    """A side, or height and width."""
    resize: Literal["stretch", "fit", "crop"] | None = None
    shortest: Count | None = None
    longest: Count | None = None
    height: Count | None = None
    """Alone, for lines of text: the width follows from the proportions."""
    narrowest: Count | None = None
    multiple: Count | None = None
    enlarge: bool | None = None
    rounding: Literal["nearest", "down"] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "box", "lanczos"] | None = None
    antialias: bool | None = None
    padding: Level | None = None
    padded: Literal["centre", "end"] | None = None
    scale: Numbers | None = None
    mean: Numbers | None = None
    std: Numbers | None = None
    order: Literal["RGB", "BGR"] | None = None
    layout: Literal["NCHW", "NHWC"] | None = None
    channels: Literal[1, 3] | None = None


class SoundOptions(StrictModel):
    """How a sound becomes the input: see ``Sound`` of the manifest."""

    input: str | None = None
    rate: Count | None = None
    length: str | None = None
    window: Count | None = None
    overlap: Annotated[int, Field(ge=0)] | None = None
    multiple: Count | None = None
    least: Count | None = None
    longest_s: Number | None = None
    level_dbfs: Number | None = None


class BoxOptions(StrictModel):
    """The outputs with boxes and scores, and their form."""

    layout: Layout | None = None
    """The layout of raw outputs. With it, boxes, scores and classes need no names."""
    boxes: str | None = None
    scores: str | None = None
    classes: str | None = None
    format: Literal["ltrb", "cxcywh", "ltwh"] | None = None
    """Left, top, right, bottom; or centre, width and height; or left, top, width, height."""
    units: Literal["pixels", "fractions"] | None = None
    """Pixels of the picture that the graph takes, or fractions of its sides."""
    background: Literal["first", "last", "none"] | None = None
    """Which score means "nothing here"."""
    overlap: Annotated[Share | Literal["none"], BeforeValidator(read_overlap)] | None = None
    across_labels: bool | None = None
    max_detections: Count | None = None
    point_size: Literal[2, 3] | None = None
    """The numbers of each point of a box: x, y and maybe a score."""
    point_names: Annotated[tuple[str, ...], BeforeValidator(read_names)] | None = None


class VectorOptions(StrictModel):
    pooling: Literal["first", "mean", "last", "none"] | None = None
    """How vectors [batch, places, size] become one: the first one, their mean, or the last token's of a text."""
    normalise: bool | None = None
    metric: Literal["cosine", "euclidean"] | None = None


class TextOptions(StrictModel):
    """How a text becomes the inputs."""

    tokenizer: str | None = None
    """A file tokenizer.json."""
    length: Count | None = None
    """The most tokens of a text."""
    truncate: bool | None = None
    prefix: str | None = None
    pad: Index | None = None
    """The id of padding."""
    first_position: Index | None = None
    """The position of a text's first token, if the graph takes positions."""


class ReadingOptions(StrictModel):
    """The symbols of a model that reads text from pictures of lines, or from sounds (CTC)."""

    symbols: tuple[str, ...] | str | None = None
    """The symbols in order, that of the blank too, or a file with one a line."""
    blank: Index | None = None
    step_s: Number | None = None
    """The length of a step in seconds."""


class Options(StrictModel):
    """Everything that a person may say. None: not said."""

    name: ModelName | None = None
    task: Task | None = None
    labels: tuple[str, ...] | str | None = None
    """The labels in order, or a file that has them."""
    description: str | None = None
    licence: str | None = None
    data: str | None = None
    rows: Literal["pictures", "texts", "sounds", "numbers"] | None = None
    """What callers send."""
    output: str | None = None
    """The output that the task reads."""
    activation: Activation | None = None
    """The function that turns the output's scores into probabilities."""
    multi_label: bool | None = None
    threshold: Number | None = None
    ignored: str | None = None
    """The label in masks that means "nothing", such as background."""
    max_rows: Count | None = None
    free_sizes: bool | None = None
    """Whether the sizes of the picture that the graph declares become free."""
    trust: bool | None = None
    """Whether code in the source may run, such as that of a pickle."""
    samples: str | None = None
    evaluate: str | None = None
    bar: Mapping[str, Finite] | None = None
    picture: PictureOptions = PictureOptions()
    sound: SoundOptions = SoundOptions()
    boxes: BoxOptions = BoxOptions()
    vectors: VectorOptions = VectorOptions()
    texts: TextOptions = TextOptions()
    reading: ReadingOptions = ReadingOptions()


def list_paths(model: type[BaseModel] = Options, prefix: str = "") -> Iterator[str]:
    """The paths of all fields, such as ``picture.mean``, in the order of a plan."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from list_paths(inner, f"{name}.")
        else:
            yield prefix + name


def flatten(options: Options) -> dict[str, Any]:
    """What is said, by path."""
    said: dict[str, Any] = {}
    for path in list_paths():
        value: Any = options
        for name in path.split("."):
            value = getattr(value, name)
        if value is not None:
            said[path] = value
    return said


def check(said: Mapping[str, Any]) -> dict[str, Any]:
    """Values by path, checked. Raises ValidationError."""
    nested: dict[str, Any] = {}
    for path, value in said.items():
        group, _, name = path.rpartition(".")
        (nested.setdefault(group, {}) if group else nested)[name] = value
    return flatten(Options.model_validate(nested))


def read_file(path: Path) -> Facts:
    """What a ``model.toml`` says. Raises SpecError, which names the field; an unknown one is an error."""
    try:
        said = tomllib.loads(path.read_text("utf-8"))
        options = Options.model_validate_json(json.dumps(said, default=str))
    except ValidationError as error:
        raise SpecError(f"{path}: {describe(error)}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SpecError(f"{path}: {error}") from None
    found = flatten(options)
    if "trust" in found:
        raise SpecError(
            f"{path}: trust: give --trust to the command instead: a file that comes with a model cannot vouch for it"
        )
    for field in ("samples", "evaluate", "texts.tokenizer"):  # a folder or a file, seen from the file that names it
        if field in found:
            found[field] = str(path.parent / found[field])
    if isinstance(found.get("labels"), str) and "," not in found["labels"]:
        found["labels"] = str(path.parent / found["labels"])
    return {field: Fact(value, f"{path.name}: {field}") for field, value in found.items()}
