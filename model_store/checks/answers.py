"""Checks of pictures, labels, boxes, vectors and tables against the graph. Raises ValueError, which names the field."""

from collections.abc import Sequence

from model_store.checks.described import FLOATS, Described, Place, expect, find
from model_store.graph import MAIN, Tensor
from model_store.tasks.classes import Classes
from model_store.tasks.detection import Detection, Segmentation
from model_store.tasks.picture import Image
from model_store.tasks.tables import Regression, Table


def check_tasks(manifest: Described) -> None:
    needed = {
        "detect": ("detection", manifest.detection),
        "segment": ("segmentation", manifest.segmentation),
        "embed": ("embedding", manifest.embedding),
        "regress": ("regression", manifest.regression),
    }
    field, facts = needed.get(manifest.task, ("", True))
    if facts is None:
        raise ValueError(f"task {manifest.task}: expected the field {field}, which describes it")
    if manifest.image:
        _check_image(manifest, manifest.image)
    if manifest.tags is None and (manifest.task == "classify" or (manifest.labels and manifest.classes)):
        _check_classes(manifest, manifest.classes)
    if manifest.detection:
        _check_detection(manifest, manifest.detection)
    if manifest.segmentation:
        _check_segmentation(manifest, manifest.segmentation)
    if manifest.embedding:
        (size,) = _expect_floats(manifest, "embedding.output", manifest.embedding.output, (None,)).row_shape
        if isinstance(size, int) and any(shorter >= size for shorter in manifest.embedding.dimensions):
            raise ValueError(f"embedding.dimensions: expected lengths below {size}, that of the output")
    if manifest.table:
        _check_table(manifest, manifest.table)
    if manifest.regression:
        _check_regression(manifest, manifest.regression)


def _check_image(manifest: Described, image: Image) -> None:
    start = manifest.loop.start if manifest.loop else None
    if image.graph not in (MAIN, start) or image.graph not in manifest.graphs:
        known = "'main'" if start is None else f"'main' or {start!r}, the loop's start graph"
        raise ValueError(f"image.graph: expected {known}, got {image.graph!r}")
    tensor = next((t for t in manifest.graphs[image.graph].inputs if t.name == image.input), None)
    if tensor is None:
        raise ValueError(f"image.input {image.input!r} is not an input of the graph {image.graph!r}")
    if image.height is None and image.width is not None:
        raise ValueError("image: expected both height and width, or neither, or a height alone")
    _check_sizes(image)
    sides = (image.height, image.width)
    picture = (image.channels, *sides) if image.layout == "NCHW" else (*sides, image.channels)
    row_shape = tensor.row_shape
    fits = len(row_shape) == 3 and all(isinstance(w, str) or w == g for w, g in zip(row_shape, picture, strict=True))
    if not fits:
        raise ValueError(f"image: {image.input!r} has rows of {row_shape}, the picture would be {picture}")
    if tensor.datatype == "UINT8" and (image.scale != 1 or image.offset != 0):
        raise ValueError("image: expected scale 1 and offset 0, because the input takes pixel values, UINT8")


def _check_sizes(image: Image) -> None:
    if image.channels == 1 and any(isinstance(value, tuple) for value in (image.scale, image.offset, image.padding)):
        raise ValueError("image: expected one number for scale, offset and padding, because there is one channel")
    if image.width is None and image.resize == "crop":
        raise ValueError("image.resize: expected a height and a width for crop")
    if image.width is not None and (image.longest is not None or image.multiple > 1):
        raise ValueError("image: expected no longest and no multiple, because height and width are given")
    if image.narrowest is not None and (image.height is None or image.width is not None):
        raise ValueError("image.narrowest: expected a height without a width")
    if image.narrowest is not None and image.longest is not None and image.narrowest > image.longest:
        raise ValueError(f"image.narrowest: expected at most longest, {image.longest}, got {image.narrowest}")
    if image.height is not None and image.shortest is not None and image.resize != "crop":
        raise ValueError("image.shortest: expected resize crop, or no height and width")
    if not image.antialias and image.interpolation in ("box", "lanczos"):
        raise ValueError(f"image.antialias: expected true for {image.interpolation}, which averages all pixels")


def _check_classes(manifest: Described, classes: Classes | None) -> None:
    main = manifest.graphs[MAIN]
    if not manifest.labels or classes is None:
        raise ValueError("task classify needs labels and classes")
    if classes.threshold is not None and not classes.multi_label:
        raise ValueError("classes.threshold: expected multi_label, because a row has one label otherwise")
    if any(t.batch_axis != 0 for t in (*main.inputs, *main.outputs)):
        raise ValueError("task classify needs a batch axis, the first, in every tensor of the graph 'main'")
    outputs = {t.name: t for t in main.outputs}
    if classes.score is not None:
        score = outputs.get(classes.score)
        if score is None or score.datatype not in FLOATS or score.row_shape not in ((), (1,)):
            shown = "none" if score is None else f"{score.datatype} {list(score.shape)}"
            raise ValueError(f"classes.score {classes.score!r}: expected an output of floats, [batch], got {shown}")
    for name in (classes.probabilities, classes.logits):
        if name is None:
            continue
        if name not in outputs:
            have = ", ".join(outputs)
            raise ValueError(f"classes: {name!r} is not an output of the graph 'main', which has {have}")
        if outputs[name].row_shape != (len(manifest.labels),):
            shape = outputs[name].row_shape
            raise ValueError(f"classes: {name!r} has rows of {shape}, but there are {len(manifest.labels)} labels")


def _check_detection(manifest: Described, facts: Detection) -> None:
    _expect_picture(manifest, "detection")
    if not manifest.labels:
        raise ValueError("task detect needs labels")
    if facts.regions is not None:
        _expect_floats(manifest, "detection.regions", facts.regions.output, (1, None, None))
        if len(manifest.labels) != 1 or facts.points or facts.classes or facts.coefficients:
            raise ValueError("detection.regions: expected one label, and neither points, classes nor masks")
        return
    _expect_floats(manifest, "detection.boxes", facts.boxes, (None, 4))
    scores = find(manifest, "detection.scores", Place(MAIN, "output", facts.scores))
    each = (None,) if len(scores.row_shape) == 1 else (None, len(manifest.labels))
    _expect_floats(manifest, "detection.scores", facts.scores, each)
    if facts.classes is not None:
        expect(manifest, "detection.classes", Place(MAIN, "output", facts.classes), ("INT64",), (None,))
    if (facts.classes is not None) != (len(each) == 1 and len(manifest.labels) > 1):
        raise ValueError("detection.classes: expected it where scores are [batch, candidates] of several labels")
    if facts.points is not None:
        points = _expect_floats(manifest, "detection.points", facts.points, (None, None, None))
        if points.row_shape[2] not in (2, 3):
            raise ValueError(f"detection.points: expected 2 or 3 numbers a point, got rows of {points.row_shape}")
        if facts.point_names and points.row_shape[1] != len(facts.point_names):
            raise ValueError(f"detection.point_names: expected {points.row_shape[1]}, got {len(facts.point_names)}")
    if (facts.coefficients is None) != (facts.prototypes is None):
        raise ValueError("detection: expected both coefficients and prototypes, or neither")
    if facts.coefficients is not None and facts.prototypes is not None:
        coefficients = _expect_floats(manifest, "detection.coefficients", facts.coefficients, (None, None))
        _expect_floats(manifest, "detection.prototypes", facts.prototypes, (coefficients.row_shape[1], None, None))


def _check_segmentation(manifest: Described, facts: Segmentation) -> None:
    _expect_picture(manifest, "segmentation")
    if not manifest.labels:
        raise ValueError("task segment needs labels")
    place = Place(MAIN, "output", facts.output)
    tensor = find(manifest, "segmentation.output", place)
    if tensor.datatype not in FLOATS:
        expect(manifest, "segmentation.output", place, ("UINT8", "INT32", "INT64"), (None, None))
        return
    channels = 1 if facts.threshold is not None else len(manifest.labels)
    _expect_floats(manifest, "segmentation.output", facts.output, (channels, None, None))
    if channels == 1 and len(manifest.labels) != 2:
        raise ValueError(f"segmentation.threshold: expected two labels, got {len(manifest.labels)}")


def _expect_picture(manifest: Described, field: str) -> None:
    if manifest.image is None:
        raise ValueError(f"{field}: expected the field image, which says how a picture becomes a row")
    if manifest.image.graph != MAIN:
        raise ValueError(f"{field}: expected pictures as rows of 'main', image.graph is {manifest.image.graph!r}")


def _expect_floats(manifest: Described, field: str, name: str, axes: Sequence[int | str | None]) -> Tensor:
    """An output of ``main``, as ``expect``."""
    return expect(manifest, field, Place(MAIN, "output", name), FLOATS, axes)


def _check_table(manifest: Described, table: Table) -> None:
    inputs = {tensor.name: tensor for tensor in manifest.graphs[MAIN].inputs}
    places = {(column.input, column.position) for column in table.columns}
    for column in table.columns:
        if column.input not in inputs:
            raise ValueError(
                f"table: column {column.name!r}: {column.input!r} is not an input, only {', '.join(inputs)}"
            )
        texts = inputs[column.input].datatype == "BYTES"
        if any(isinstance(value, str) != texts for value in column.values):
            kind = "texts" if texts else "numbers"
            raise ValueError(
                f"table: column {column.name!r}: values: expected {kind}, as its input {column.input!r} has"
            )
    expected = {(name, place) for name, tensor in inputs.items() for place in range(_count_places(tensor))}
    if wrong := sorted(places ^ expected):
        raise ValueError(f"table: expected one column for each place of each input, which fails at {wrong[0]}")


def _count_places(tensor: Tensor) -> int:
    """The columns that an input takes."""
    if tensor.batch_axis != 0 or len(tensor.row_shape) > 1:
        raise ValueError(f"table: expected rows of numbers or texts, got {tensor.name!r} of {list(tensor.shape)}")
    size = tensor.row_shape[0] if tensor.row_shape else 1
    if isinstance(size, str):
        raise ValueError(f"table: expected a fixed number of columns, got {tensor.name!r} of {list(tensor.shape)}")
    return size


def _check_regression(manifest: Described, facts: Regression) -> None:
    values = find(manifest, "regression.output", Place(MAIN, "output", facts.output))
    _expect_floats(manifest, "regression.output", facts.output, (None,) if values.row_shape else ())
    size = values.row_shape[0] if values.row_shape else 1
    if isinstance(size, str) or size != max(1, len(facts.names)):
        raise ValueError(f"regression.names: expected a name for each of {size} values, got {len(facts.names)}")
