"""Rows stay apart in operators that work on elements, or along an axis beside the batch."""

import numpy as np

from tests.support.rows.case import Case, between, independent

_X = "float[N,4] x => float[N,4] y"
_XTC = "float[batch,T,4] x => float[batch,T,4] y"
_IMAGE = "float[N,2,6,6] x => float[N,2,6,6] y"
_SMALL = between(-2.0, 2.0)

CASES: list[Case] = [
    independent("relu_unnamed_axes", "float[?,?] x => float[?,?] y", "y = Relu(x)", "no axis has a name"),
    independent("relu_7", _X, "a = Relu(x) b = LeakyRelu<alpha=0.2>(a) y = Elu(b)", "an old opset", opset=7),
    independent(
        "mlp",
        "float[batch,8] x => float[batch,3] y",
        "h = Gemm(x, w[8,16], w[16]) r = Relu(h) y = Gemm<transB=1>(r, w[3,16], w[3])",
        "two layers",
    ),
    independent(
        "mlp_matmul_fp64",
        "double[N,5] x => double[N,2] y",
        "h = MatMul(x, f64[5,2]) b = Add(h, f64[2]) y = Tanh(b)",
        "double precision",
    ),
    independent(
        "mlp_fp16",
        "float16[N,5] x => float16[N,2] y",
        "h = MatMul(x, f16[5,2]) y = Add(h, f16[2])",
        "half precision",
        draws={"x": _SMALL},
        tolerance=1e-2,
    ),
    independent(
        "gemm_batch_on_axis_1",
        "float[4,batch] x => float[batch,3] y",
        "y = Gemm<transA=1, alpha=0.5>(x, w[4,3], w[3])",
        "the batch moves from axis 1 to axis 0",
        axes={"x": 1},
    ),
    independent(
        "gemm_row_bias",
        "float[N,4] x, float[N,3] b => float[N,3] y",
        "y = Gemm<beta=2.0>(x, w[4,3], b)",
        "the bias is an input with rows",
    ),
    independent(
        "gemm_constant_on_the_left",
        "float[4,batch] x => float[3,batch] y",
        "y = Gemm(w[3,4], x, w[3,1])",
        "the weight is on the left and the batch on the last axis",
        axes={"x": 1, "y": 1},
    ),
    independent("matmul_vector", "float[N,4] x => float[N] y", "y = MatMul(x, w[4])", "a weight with one axis"),
    independent(
        "matmul_per_row", "float[N,T,4] a, float[N,4,U] b => float[N,T,U] y", "y = MatMul(a, b)", "both sides have rows"
    ),
    independent(
        "matmul_weight_on_the_left",
        "float[N,4,T] x => float[N,3,T] y",
        "y = MatMul(w[3,4], x)",
        "a weight without rows on the left",
    ),
    independent(
        "matmul_time_major",
        "float[T,batch,4] x => float[T,batch,3] y",
        "y = MatMul(x, w[4,3])",
        "the batch is axis 1",
        axes={"x": 1, "y": 1},
    ),
    independent(
        "einsum_linear",
        "float[N,T,4] x => float[N,T,3] y",
        'y = Einsum<equation="bti,oi->bto">(x, w[3,4])',
        "a linear layer",
    ),
    independent(
        "einsum_scores",
        "float[N,H,T,4] q, float[N,H,S,4] k => float[N,H,T,S] y",
        'y = Einsum<equation="bhtd, bhsd -> bhts">(q, k)',
        "attention scores",
    ),
    independent(
        "einsum_ellipsis",
        "float[N,T,4] x => float[N,T] y",
        'y = Einsum<equation="...i,i->...">(x, w[4])',
        "the batch is under the dots",
    ),
    independent(
        "einsum_outer_per_row",
        "float[N,3] a, float[N,4] b => float[N,3,4] y",
        'y = Einsum<equation="bi,bj->bij">(a, b)',
        "an outer product of each row",
    ),
    independent(
        "einsum_moves_batch",
        "float[N,T,4] x => float[T,N] y",
        'y = Einsum<equation="bti,bti->tb">(x, x)',
        "the batch moves to the last axis",
        axes={"y": 1},
    ),
    independent("softmax_last", _XTC, "y = Softmax(x)", "the default axis is the last"),
    independent("softmax_time", _XTC, "y = Softmax<axis=-2>(x)", "over time"),
    independent(
        "softmax_11_default", _XTC, "y = Softmax(x)", "before opset 13 axis 1 flattens time and features", opset=11
    ),
    independent(
        "softmax_11_axis_2",
        _XTC,
        "y = LogSoftmax<axis=2>(x)",
        "before opset 13 axis 2 flattens the batch and time",
        opset=11,
    ),
    independent(
        "softmax_batch_on_axis_1",
        "float[T,batch] x => float[T,batch] y",
        "y = Softmax<axis=0>(x)",
        "axis 0 is time",
        axes={"x": 1, "y": 1},
    ),
    independent("hardmax", _XTC, "y = Hardmax<axis=1>(x)", "one hot over time"),
    independent(
        "reduce_mean_attribute",
        "float[N,T,4] x => float[N,4] y",
        "y = ReduceMean<axes=[1], keepdims=0>(x)",
        "the mean over time",
    ),
    independent(
        "reduce_sum_input",
        "float[N,T,4] x => float[N,1,1] y",
        "y = ReduceSum(x, [1,-1])",
        "axes are an input, one is negative",
    ),
    independent(
        "reduce_max_18",
        "float[N,T,4] x => float[N,T] y",
        "y = ReduceMax<keepdims=0>(x, [-1])",
        "axes are an input since opset 18",
        opset=18,
    ),
    independent("reduce_nothing", _X, "y = ReduceSum<noop_with_empty_axes=1>(x)", "empty axes mean none"),
    independent(
        "reduce_axes_from_rank",
        "float[N,T,4] x => float[N] y",
        "s = Shape(x) r = Size(s) a = Range(1, r, 1) y = ReduceSum<keepdims=0>(x, a)",
        "all axes but the first, computed from the rank",
    ),
    independent(
        "reduce_batch_on_axis_1",
        "float[T,batch,4] x => float[batch,4] y",
        "y = ReduceMin<axes=[0], keepdims=0>(x)",
        "axis 0 is time",
        axes={"x": 1},
    ),
    independent(
        "several_reductions",
        "float[N,T,4] x => float[N,4] y",
        "a = ReduceL1<axes=[1], keepdims=0>(x) b = ReduceLogSumExp<axes=[1], keepdims=0>(x) "
        "c = ReduceSumSquare<axes=[1], keepdims=0>(x) d = Add(a, b) y = Add(d, c)",
        "three reductions over time",
    ),
    independent("argmax_int", "float[N,5] x => int64[N] y", "y = ArgMax<axis=-1, keepdims=0>(x)", "the class"),
    independent(
        "topk", "float[N,9] x => float[N,3] v, int64[N,3] i", "v, i = TopK(x, [3])", "the three largest of a row"
    ),
    independent(
        "topk_9", "float[N,9,2] x => float[N,3,2] v", "v, i = TopK<axis=1, k=3>(x)", "k is an attribute", opset=9
    ),
    independent("cumsum_time", _XTC, "y = CumSum<reverse=1>(x, 1)", "a running sum over time"),
    independent("layer_norm", _XTC, "y = LayerNormalization(x, p[4], w[4])", "over features", opset=17),
    independent(
        "layer_norm_two_axes",
        "float[N,3,4] x => float[N,3,4] y",
        "y = LayerNormalization<axis=1>(x, p[3,4], w[3,4])",
        "over both other axes",
    ),
    independent(
        "layer_norm_by_hand",
        _XTC,
        "m = ReduceMean<axes=[-1]>(x) c = Sub(x, m) q = Pow(c, 2.0) v = ReduceMean<axes=[-1]>(q) "
        "e = Add(v, 0.1) s = Sqrt(e) n = Div(c, s) g = Mul(n, p[4]) y = Add(g, w[4])",
        "as exported before opset 17",
        opset=12,
    ),
    independent(
        "rms_norm_by_hand",
        _XTC,
        "q = Mul(x, x) v = ReduceMean<axes=[-1]>(q) e = Add(v, 0.1) s = Sqrt(e) r = Reciprocal(s) "
        "n = Mul(x, r) y = Mul(n, p[4])",
        "by the root of the mean square",
    ),
    independent("rms_norm_23", _XTC, "y = RMSNormalization(x, p[4])", "the operator of opset 23", opset=23),
    independent("instance_norm", _IMAGE, "y = InstanceNormalization(x, p[2], w[2])", "over the picture"),
    independent(
        "group_norm_by_reshape",
        "float[N,4,H,W] x => float[N,4,H,W] y",
        "a = Reshape(x, [0,2,-1]) n = InstanceNormalization(a, ones[2], zeros[2]) s = Shape(x) "
        "b = Reshape(n, s) g = Mul(b, p[4,1,1]) y = Add(g, w[4,1,1])",
        "as torch exports it",
    ),
    independent(
        "group_norm_21",
        "float[N,4,5] x => float[N,4,5] y",
        "y = GroupNormalization<num_groups=2>(x, p[4], w[4])",
        "the operator of opset 21",
        opset=21,
    ),
    independent(
        "batch_norm_inference",
        _IMAGE,
        "y = BatchNormalization(x, p[2], w[2], w[2], p[2])",
        "stored statistics",
        opset=15,
    ),
    independent(
        "batch_norm_7",
        _X,
        "y = BatchNormalization(x, p[4], w[4], w[4], p[4])",
        "stored statistics, an old opset",
        opset=7,
    ),
    independent("mean_variance_norm", _IMAGE, "y = MeanVarianceNormalization<axes=[2,3]>(x)", "over the picture"),
    independent("lp_norm", _XTC, "y = LpNormalization<axis=-1, p=2>(x)", "vectors of length one"),
    independent(
        "local_response", "float[N,5,3,3] x => float[N,5,3,3] y", "y = LRN<size=3>(x)", "over neighbouring channels"
    ),
    independent(
        "activations",
        _XTC,
        "a = Gelu(x) b = HardSwish(a) c = Mish(b) d = Softplus(c) e = Softsign(d) f = Selu(e) g = Celu(f) "
        "h = ThresholdedRelu(g) y = Erf(h)",
        "many activations",
        opset=20,
    ),
    independent(
        "trigonometry",
        _X,
        "a = Sin(x) b = Cos(a) c = Tan(b) d = Atan(c) e = Sinh(d) f = Asinh(e) g = Abs(f) y = Log(g)",
        "functions of one number",
    ),
    independent("prelu_slope", "float[N,4,5] x => float[N,4,5] y", "y = PRelu(x, w[4,1])", "a slope for each channel"),
    independent("clip_constants", _X, 'a = Clip(x, -1.0, 2.0) y = Clip(a, "", 1.5)', "limits are constants", opset=13),
    independent("clip_6", _X, "y = Clip<min=-1.0, max=1.0>(x)", "limits are attributes", opset=7),
    independent(
        "where_per_row",
        "float[N,4] a, float[N,4] b, bool[N,1] c => float[N,4] y",
        "y = Where(c, a, b)",
        "a condition for each row",
    ),
    independent(
        "comparisons",
        "float[N,4] a, float[N,4] b => bool[N,4] y",
        "c = Greater(a, b) d = LessOrEqual(a, w[4]) e = Xor(c, d) f = IsNaN(a) g = Not(f) y = And(e, g)",
        "truth values",
    ),
    independent(
        "integer_arithmetic",
        "int32[N,4] a, int32[N,4] b => int32[N,4] y",
        "c = Mul(a, b) d = Sub(c, a) m = Mod(d, seven) y = Neg(m)",
        "whole numbers",
        constants={"seven": np.array(7, np.int32)},
    ),
    independent(
        "bits",
        "uint8[N,4] x => uint8[N,4] y",
        'a = BitShift<direction="LEFT">(x, two) b = BitwiseAnd(a, x) c = BitwiseNot(b) y = BitwiseXor(c, x)',
        "bits of bytes",
        opset=18,
        constants={"two": np.array(2, np.uint8)},
    ),
    independent(
        "sum_and_mean_of_many",
        "float[N,4] a, float[N,4] b, float[N,1] c => float[N,4] y",
        "s = Sum(a, b, c) m = Mean(a, b) t = Max(s, m, c) y = Min(t, a)",
        "operators of many inputs, which are not reductions",
    ),
    independent(
        "two_inputs_of_one_rank_less",
        "float[N,T,4] x, float[N,4] z => float[N,T,4] y",
        "u = Unsqueeze(z, [1]) y = Add(x, u)",
        "a vector for each row is given to all times",
    ),
    independent(
        "broadcast_trailing",
        "float[N] x => float[3,N] y",
        "y = Mul(x, w[3,1])",
        "the batch is the last axis of the output",
        axes={"y": 1},
    ),
    independent(
        "shared_threshold",
        "float[N,4] x, float t => float[N,4] y",
        "b = Greater(x, t) y = Where(b, x, t)",
        "a number that all rows share",
        axes={"t": None},
    ),
    independent(
        "shared_rate",
        "float[N,T] x, int64[1] rate => float[N,T] y",
        "f = Cast<to=1>(rate) y = Div(x, f)",
        "a sampling rate that all rows share",
        axes={"rate": None},
        draws={"rate": between(1, 5)},
    ),
    independent(
        "shared_matrix",
        "float[N,4] x, float[4,3] m => float[N,3] y",
        "y = MatMul(x, m)",
        "a matrix of fixed shape that all rows share",
        axes={"m": None},
    ),
    independent(
        "overridable_weight",
        "float[N,4] x, float[4,4] weight => float[N,4] y",
        "y = MatMul(x, weight)",
        "a weight that is listed among the inputs",
        constants={"weight": np.eye(4, dtype=np.float32) * 2},
    ),
    independent(
        "one_hot",
        "int64[N,T] x => float[N,T,6] y",
        "y = OneHot(x, 6, [0.0, 1.0])",
        "classes",
        draws={"x": between(0, 6)},
    ),
    independent(
        "one_hot_axis_0",
        "int64[N] x => float[6,N] y",
        "y = OneHot<axis=0>(x, [6], [0.0, 1.0])",
        "classes go before the batch",
        axes={"y": 1},
        draws={"x": between(0, 6)},
        opset=11,
    ),
    independent("trilu_per_row", "float[N,T,T] x => float[N,T,T] y", "y = Trilu<upper=0>(x)", "the last two axes"),
    independent(
        "det_per_row", "float[N,3,3] x => float[N] y", "y = Det(x)", "a determinant for each row", draws={"x": _SMALL}
    ),
    independent("dropout_inference", _X, "y, m = Dropout(x, 0.5)", "dropout does nothing"),
    independent("dropout_7", _X, "y = Dropout<ratio=0.5>(x)", "dropout does nothing, an old opset", opset=7),
    independent(
        "cast_like_round",
        "float[N,4] x => int64[N,4] y",
        "r = Round(x) c = Cast<to=7>(r) y = CastLike(c, k)",
        "casts",
        draws={"x": between(-50.0, 50.0)},
        constants={"k": np.array(1)},
    ),
    independent(
        "dead_branch_mixes", _X, "m = ReduceMean<axes=[0]>(x) d = Sub(x, m) y = Relu(x)", "what mixes reaches no output"
    ),
    independent(
        "shrink_and_sign",
        _X,
        "a = Shrink<lambd=0.3>(x) b = Sign(a) c = Floor(x) d = Ceil(x) e = Add(b, c) y = Sub(e, d)",
        "steps",
    ),
    independent(
        "time_first_and_back",
        "float[N,T,4] x => float[N,T,4] y",
        "a = Transpose<perm=[2,0,1]>(x) b = Softmax<axis=0>(a) c = CumSum(b, 2) y = Transpose<perm=[1,2,0]>(c)",
        "the batch is in the middle for a while",
    ),
]
