"""The options of ``sluice import``, one for each fact, and the names that errors use for them."""

from typing import NamedTuple


class Flag(NamedTuple):
    """An option: ``kind`` is "text", "whole" (a number), "yes" (no value) or "no" (no value, means false)."""

    name: str
    help: str
    metavar: str = ""
    kind: str = "text"


FLAGS: dict[str, Flag] = {
    "name": Flag("--name", "the model's name in the store", "NAME"),
    "task": Flag("--task", "what the model does for callers; tensors: only the tensor routes", "TASK"),
    "labels": Flag("--labels", "the labels in order: a,b,c, or a file with one a line, or of JSON", "LABELS"),
    "description": Flag("--description", "what the model is, for people", "TEXT"),
    "licence": Flag("--licence", "the licence of the weights", "TEXT"),
    "data": Flag("--data", "the training data, for the record", "TEXT"),
    "rows": Flag("--rows", "what callers send: pictures, texts, sounds, or numbers as they are", "KIND"),
    "output": Flag("--output", "the output that answers: scores, vectors, masks or numbers", "NAME"),
    "activation": Flag("--activation", "what makes probabilities of the scores: softmax, sigmoid or none", "KIND"),
    "multi_label": Flag("--multi-label", "a row may have several labels", kind="yes"),
    "threshold": Flag("--threshold", "the least score of a label or box; of vectors, what still is the same", "NUMBER"),
    "ignored": Flag("--ignored", "the label of a mask that is nothing, such as background", "LABEL"),
    "max_rows": Flag("--max-rows", "most rows of a batch", "N", "whole"),
    "free_sizes": Flag("--free-sizes", "free the batch and picture size that the graph declares", kind="yes"),
    "picture.input": Flag("--input", "the input that takes the picture", "NAME"),
    "picture.size": Flag("--size", "the picture's side, or HEIGHTxWIDTH", "SIZE"),
    "picture.resize": Flag("--resize", "stretch; fit and pad; or crop the centre", "KIND"),
    "picture.shortest": Flag("--shortest", "the shortest side after resizing, before a crop", "N", "whole"),
    "picture.longest": Flag("--longest", "the longest side after resizing, for free sizes", "N", "whole"),
    "picture.height": Flag("--height", "the height alone: the width follows from the proportions", "N", "whole"),
    "picture.narrowest": Flag("--narrowest", "the least width, beside a height alone", "N", "whole"),
    "picture.multiple": Flag("--multiple", "both sides become multiples of this, for free sizes", "N", "whole"),
    "picture.enlarge": Flag("--no-enlarge", "never make a picture larger", kind="no"),
    "picture.rounding": Flag("--rounding", "half a pixel of a crop or padding: nearest or down", "KIND"),
    "picture.interpolation": Flag("--interpolation", "nearest, bilinear, bicubic, box or lanczos", "KIND"),
    "picture.antialias": Flag("--no-antialias", "read only the nearest pixels, as OpenCV does", kind="no"),
    "picture.padding": Flag("--padding", "the level of the padding, 0 to 255", "LEVEL", "whole"),
    "picture.padded": Flag("--padded", "where a padded picture lies: centre, or end (at the left and top)", "PLACE"),
    "picture.scale": Flag("--scale", "values are (level * scale - mean) / std: 1/255, or 1", "NUMBERS"),
    "picture.mean": Flag("--mean", "one number, or three in the order of the channels", "NUMBERS"),
    "picture.std": Flag("--std", "one number, or three in the order of the channels", "NUMBERS"),
    "picture.order": Flag("--order", "the order of the channels: RGB, or BGR as OpenCV reads", "ORDER"),
    "picture.layout": Flag("--layout", "NCHW or NHWC", "LAYOUT"),
    "picture.channels": Flag("--channels", "1 for grey, 3 for colours", "N", "whole"),
    "sound.input": Flag("--sound-input", "the input that takes the samples, [batch, samples]", "NAME"),
    "sound.rate": Flag("--rate", "samples a second, in Hz", "HZ", "whole"),
    "sound.length": Flag("--length-input", "the input that takes the number of samples of a row", "NAME"),
    "sound.window": Flag("--window", "samples of a row; longer sounds are cut into windows", "N", "whole"),
    "sound.overlap": Flag("--window-overlap", "samples that neighbouring windows share", "N", "whole"),
    "sound.multiple": Flag("--sound-multiple", "without a window: rows are padded to a multiple of this", "N", "whole"),
    "sound.least": Flag("--least-samples", "the fewest samples of a sound", "N", "whole"),
    "sound.longest_s": Flag("--longest-s", "the longest sound that is taken, in seconds", "SECONDS"),
    "sound.level_dbfs": Flag("--level-dbfs", "the level to which quieter sounds are raised, such as -30", "DB"),
    "boxes.layout": Flag(
        "--box-layout", "how raw outputs hold boxes: yolov5, yolov8, rtdetr, end2end, centerface, centernet", "KIND"
    ),
    "boxes.boxes": Flag("--boxes", "the output with boxes", "NAME"),
    "boxes.scores": Flag("--scores", "the output with their scores", "NAME"),
    "boxes.classes": Flag("--classes", "the output with the labels of boxes, if scores have no axis for them", "NAME"),
    "boxes.format": Flag("--box-format", "ltrb, cxcywh or ltwh (left, top, width, height)", "FORM"),
    "boxes.units": Flag("--box-units", "pixels of the model's picture, or fractions of its sides", "UNITS"),
    "boxes.background": Flag("--background", "the score that means nothing: first, last or none", "PLACE"),
    "boxes.overlap": Flag("--overlap", "the overlap at which one of two boxes goes; none: the graph does it", "SHARE"),
    "boxes.across_labels": Flag("--across-labels", "boxes of different labels exclude each other too", kind="yes"),
    "boxes.max_detections": Flag("--max-detections", "most boxes of an answer", "N", "whole"),
    "boxes.point_size": Flag("--point-size", "numbers of each point of a box: 2, or 3 with a score", "N", "whole"),
    "boxes.point_names": Flag("--point-names", "the names of the points of a box: a,b,c", "NAMES"),
    "vectors.pooling": Flag("--pooling", "one vector of many: first, mean, last (of a text) or none", "KIND"),
    "vectors.normalise": Flag("--no-normalise", "leave vectors at their length", kind="no"),
    "vectors.metric": Flag("--metric", "how vectors are compared: cosine or euclidean", "METRIC"),
    "texts.tokenizer": Flag("--tokenizer", "the tokenizer.json of a model of texts", "FILE"),
    "texts.length": Flag("--max-length", "the most tokens of a text", "N", "whole"),
    "texts.truncate": Flag("--truncate", "cut a longer text at its end; else it is refused", kind="yes"),
    "texts.prefix": Flag("--prefix", "what is put before each text, such as 'query: '", "TEXT"),
    "texts.pad": Flag("--pad-id", "the id of padding", "N", "whole"),
    "texts.first_position": Flag(
        "--first-position", "the position of the first token, if the graph takes positions: usually 0", "N", "whole"
    ),
    "reading.symbols": Flag("--symbols", "a file with the symbols of a reader's scores, one a line", "FILE"),
    "reading.blank": Flag("--blank", "the position of the blank among the symbols", "N", "whole"),
    "reading.step_s": Flag("--step-seconds", "how long a step of a reader of sounds is", "SECONDS"),
    "trust": Flag("--trust", "read a pickle, which runs the code in it: only if you know who made it", kind="yes"),
    "samples": Flag(
        "--samples",
        "real rows: a folder of pictures, texts or sounds, a .txt by lines, an .npz by input, or a table",
        "PATH",
    ),
    "evaluate": Flag("--evaluate", "labelled rows: a folder with a sub-folder for each label, or a table", "PATH"),
    "bar": Flag("--bar", "what the evaluation must reach, such as accuracy=0.8; may be given again", "METRIC=VALUE"),
}
"""Each flag by the path of its fact in ``options.Options``."""


def show_flag(path: str) -> str:
    """The option that supplies a fact, for messages."""
    return FLAGS[path].name
