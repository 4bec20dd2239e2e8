"""Operators in every version of ONNX that writes or means them differently."""

from collections.abc import Iterator, Mapping

from tests.support.rows.case import Case, Kind, Truth, build

OPSETS = (7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 21, 23, 24)

_X = "float[N,4] x => float[N,M] y"
_XT = "float[N,T,4] x => float[N,T,4] y"
_SCALES = "[1.0,2.0]"
_BOTH = "[2.0,1.0]"

_INDEPENDENT: dict[str, tuple[str, Mapping[int, str]]] = {
    "softmax": (_XT, {7: "y = Softmax(x)"}),
    "softmax_over_columns": (_XT, {7: "y = Softmax<axis=2>(x)"}),
    "hardmax": (_XT, {7: "y = Hardmax<axis=2>(x)"}),
    "log_softmax_behind_the_batch": (
        "float[N,4] x => float[1,N,4] y",
        {7: "u = Unsqueeze<axes=[0]>(x) y = LogSoftmax<axis=2>(u)", 13: "u = Unsqueeze(x, [0]) y = LogSoftmax(u)"},
    ),
    "clip": (_X, {7: "y = Clip<min=-0.5, max=0.5>(x)", 11: "y = Clip(x, -0.5, 0.5)"}),
    "clip_at_one_end": (_X, {7: "y = Clip<min=-0.5>(x)", 11: 'y = Clip(x, "", 0.5)'}),
    "pad": (_X, {7: "y = Pad<pads=[0,1,0,1]>(x)", 11: "y = Pad(x, [0,1,0,1])", 18: 'y = Pad(x, [1,1], "", [1])'}),
    "squeeze": (
        _X,
        {7: "u = Unsqueeze<axes=[1]>(x) y = Squeeze<axes=[1]>(u)", 13: "u = Unsqueeze(x, [1]) y = Squeeze(u, [1])"},
    ),
    "sum": (_X, {7: "y = ReduceSum<axes=[1]>(x)", 13: "y = ReduceSum(x, [1])"}),
    "mean": (_X, {7: "y = ReduceMean<axes=[1]>(x)", 18: "y = ReduceMean(x, [1])"}),
    "sum_over_nothing": (_X, {13: "y = ReduceSum<noop_with_empty_axes=1>(x)"}),
    "split": (_X, {7: "y, b = Split<axis=1, split=[1,3]>(x)", 13: "y, b = Split<axis=1>(x, [1,3])"}),
    "split_evenly": (_X, {7: "y, b = Split<axis=1>(x)", 18: "y, b = Split<axis=1, num_outputs=2>(x)"}),
    "slice": (_X, {7: "y = Slice<starts=[0], ends=[2], axes=[1]>(x)", 10: "y = Slice(x, [0], [2], [1])"}),
    "top_k": (_X, {7: "y, i = TopK<k=2>(x)", 10: "y, i = TopK<axis=1>(x, [2])"}),
    "resize": (
        _X,
        {
            7: "y = Upsample<scales=[1.0,2.0]>(x)",
            9: f"y = Upsample(x, {_SCALES})",
            10: f"y = Resize(x, {_SCALES})",
            11: f"y = Resize(x, w[0], {_SCALES})",
            13: f'y = Resize(x, "", {_SCALES})',
            18: 'y = Resize<axes=[1]>(x, "", [2.0])',
        },
    ),
    "dropout": (_X, {7: "y = Dropout<ratio=0.5>(x)", 12: "y = Dropout(x, 0.5)"}),
    "batch_normalisation": (_X, {7: "y = BatchNormalization(x, p[4], w[4], w[4], p[4])"}),
    "flatten": ("float[N,2,2] x => float[N,4] y", {7: "y = Flatten(x)", 11: "y = Flatten<axis=-2>(x)"}),
    "gemm": (_X, {7: "y = Gemm<transB=1>(x, w[3,4], w[3])", 11: "y = Gemm<transB=1>(x, w[3,4])"}),
    "arg_max": (_X, {7: "i = ArgMax<axis=1>(x) y = Cast<to=1>(i)", 12: "i = ArgMax<axis=-1>(x) y = Cast<to=1>(i)"}),
    "reshape": (
        "float[N,2,2] x => float[N,4] y",
        {7: "y = Reshape(x, [-1,4])", 14: "y = Reshape<allowzero=1>(x, [-1,4])"},
    ),
    "layer_normalisation": (_X, {17: "y = LayerNormalization(x, p[4], w[4])"}),
    "group_normalisation": (
        "float[N,4,3] x => float[N,4,3] y",
        {
            18: "y = GroupNormalization<num_groups=2>(x, p[2], w[2])",
            21: "y = GroupNormalization<num_groups=2>(x, p[4], w[4])",
        },
    ),
    "root_mean_square": (_X, {23: "y = RMSNormalization(x, p[4])"}),
    "swish": (_X, {24: "y = Swish(x)"}),
}

_MIXING: dict[str, tuple[str, Mapping[int, str]]] = {
    "softmax_over_rows": (_XT, {7: "y = Softmax<axis=0>(x)"}),
    "softmax_behind_one": (
        "float[N,4] x => float[1,N,4] y",
        {7: "u = Unsqueeze<axes=[0]>(x) y = Softmax<axis=1>(u)", 13: "u = Unsqueeze(x, [0]) y = Softmax<axis=1>(u)"},
    ),
    "pad_of_rows": (
        _X,
        {7: "y = Pad<pads=[1,0,0,0]>(x)", 11: "y = Pad(x, [1,0,0,0])", 18: 'y = Pad(x, [1,0], "", [0])'},
    ),
    "sum_of_rows": (_X, {7: "m = ReduceSum<axes=[0]>(x) y = Sub(x, m)", 13: "m = ReduceSum(x, [-2]) y = Sub(x, m)"}),
    "sum_of_all": (_X, {7: "m = ReduceSum(x) y = Sub(x, m)"}),
    "mean_of_rows": (_X, {7: "m = ReduceMean<axes=[0]>(x) y = Sub(x, m)", 18: "m = ReduceMean(x, [0]) y = Sub(x, m)"}),
    "slice_of_rows": (
        _X,
        {
            7: "f = Slice<starts=[0], ends=[1], axes=[0]>(x) y = Sub(x, f)",
            10: "f = Slice(x, [0], [1], [-2]) y = Sub(x, f)",
        },
    ),
    "top_row": (_X, {7: "f, i = TopK<k=1, axis=0>(x) y = Sub(x, f)", 10: "f, i = TopK<axis=0>(x, [1]) y = Sub(x, f)"}),
    "resize_of_rows": (
        _X,
        {
            7: "y = Upsample<scales=[2.0,1.0]>(x)",
            9: f"y = Upsample(x, {_BOTH})",
            10: f"y = Resize(x, {_BOTH})",
            11: f"y = Resize(x, w[0], {_BOTH})",
            13: f'y = Resize(x, "", {_BOTH})',
            18: 'y = Resize<axes=[0]>(x, "", [2.0])',
        },
    ),
    "batch_statistics": (_X, {14: "y, m, v = BatchNormalization<training_mode=1>(x, p[4], w[4], w[4], p[4])"}),
    "arg_max_of_rows": (_X, {7: "i = ArgMax<axis=0>(x) f = Cast<to=1>(i) y = Add(x, f)"}),
    "flatten_of_rows": ("float[2,N] x => float[1,M] y", {7: "t = Flatten<axis=0>(x) y = Softmax<axis=1>(t)"}),
    "hardmax_over_rows": (_XT, {7: "y = Hardmax<axis=0>(x)"}),
}
_ON_AXIS_1 = {"log_softmax_behind_the_batch", "softmax_behind_one"}
_SHAPES = {"pad_of_rows", "resize_of_rows", "flatten_of_rows"}


def _write() -> Iterator[Case]:
    truths: Mapping[Truth, dict[str, tuple[str, Mapping[int, str]]]] = {"independent": _INDEPENDENT, "mixing": _MIXING}
    for truth, graphs in truths.items():
        for name, (signature, bodies) in graphs.items():
            for opset in OPSETS:
                body = next((bodies[first] for first in sorted(bodies, reverse=True) if first <= opset), None)
                if body is not None:
                    yield _build(name, truth, signature, body, opset)


def _build(name: str, truth: Truth, signature: str, body: str, opset: int) -> Case:
    axes = {"y": 1} if name in _ON_AXIS_1 else {"x": 1} if name == "flatten_of_rows" else {}
    seen: Kind = "shape" if name in _SHAPES else "values"
    title = f"{name}_{opset}"
    return build(title, truth, signature, body, "", opset=opset, axes=axes, seen=seen, sizes=(1, 3, 4))


CASES: list[Case] = list(_write())
