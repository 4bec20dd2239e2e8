"""Rows stay apart in operators that work on elements, or along an axis beside the batch."""

import numpy as np

from tests.support.rows.case import read_cases

_TABLE = """
relu_unnamed_axes: no axis has a name
    float[?,?] x => float[?,?] y | y = Relu(x)
relu_7 (opset 7): an old opset
    a = Relu(x) b = LeakyRelu<alpha=0.2>(a) y = Elu(b)
mlp: two layers
    float[batch,8] x => float[batch,3] y | h = Gemm(x, w[8,16], w[16]) r = Relu(h) y = Gemm<transB=1>(r, w[3,16], w[3])
mlp_matmul_fp64: double precision
    double[N,5] x => double[N,2] y | h = MatMul(x, f64[5,2]) b = Add(h, f64[2]) y = Tanh(b)
mlp_fp16 (draws x=-2.0..2.0; tolerance 0.01): half precision
    float16[N,5] x => float16[N,2] y | h = MatMul(x, f16[5,2]) y = Add(h, f16[2])
gemm_batch_on_axis_1 (axes x=1): the batch moves from axis 1 to axis 0
    float[4,batch] x => float[batch,3] y | y = Gemm<transA=1, alpha=0.5>(x, w[4,3], w[3])
gemm_row_bias: the bias is an input with rows
    float[N,4] x, float[N,3] b => float[N,3] y | y = Gemm<beta=2.0>(x, w[4,3], b)
gemm_constant_on_the_left (axes x=1 y=1): the weight is on the left and the batch on the last axis
    float[4,batch] x => float[3,batch] y | y = Gemm(w[3,4], x, w[3,1])
matmul_vector: a weight with one axis
    float[N,4] x => float[N] y | y = MatMul(x, w[4])
matmul_per_row: both sides have rows
    float[N,T,4] a, float[N,4,U] b => float[N,T,U] y | y = MatMul(a, b)
matmul_weight_on_the_left: a weight without rows on the left
    float[N,4,T] x => float[N,3,T] y | y = MatMul(w[3,4], x)
matmul_time_major (axes x=1 y=1): the batch is axis 1
    float[T,batch,4] x => float[T,batch,3] y | y = MatMul(x, w[4,3])
einsum_linear: a linear layer
    float[N,T,4] x => float[N,T,3] y | y = Einsum<equation="bti,oi->bto">(x, w[3,4])
einsum_scores: attention scores
    float[N,H,T,4] q, float[N,H,S,4] k => float[N,H,T,S] y | y = Einsum<equation="bhtd, bhsd -> bhts">(q, k)
einsum_ellipsis: the batch is under the dots
    float[N,T,4] x => float[N,T] y | y = Einsum<equation="...i,i->...">(x, w[4])
einsum_outer_per_row: an outer product of each row
    float[N,3] a, float[N,4] b => float[N,3,4] y | y = Einsum<equation="bi,bj->bij">(a, b)
einsum_moves_batch (axes y=1): the batch moves to the last axis
    float[N,T,4] x => float[T,N] y | y = Einsum<equation="bti,bti->tb">(x, x)
softmax_time: over time
    float[batch,T,4] x => float[batch,T,4] y | y = Softmax<axis=-2>(x)
softmax_11_axis_2 (opset 11): before opset 13 axis 2 flattens the batch and time
    float[batch,T,4] x => float[batch,T,4] y | y = LogSoftmax<axis=2>(x)
softmax_batch_on_axis_1 (axes x=1 y=1): axis 0 is time
    float[T,batch] x => float[T,batch] y | y = Softmax<axis=0>(x)
reduce_sum_input: axes are an input, one is negative
    float[N,T,4] x => float[N,1,1] y | y = ReduceSum(x, [1,-1])
reduce_max_18 (opset 18): axes are an input since opset 18
    float[N,T,4] x => float[N,T] y | y = ReduceMax<keepdims=0>(x, [-1])
reduce_axes_from_rank: all axes but the first, computed from the rank
    float[N,T,4] x => float[N] y | s = Shape(x) r = Size(s) a = Range(1, r, 1) y = ReduceSum<keepdims=0>(x, a)
reduce_batch_on_axis_1 (axes x=1): axis 0 is time
    float[T,batch,4] x => float[batch,4] y | y = ReduceMin<axes=[0], keepdims=0>(x)
several_reductions: three reductions over time
    float[N,T,4] x => float[N,4] y
    a = ReduceL1<axes=[1], keepdims=0>(x) b = ReduceLogSumExp<axes=[1], keepdims=0>(x)
    c = ReduceSumSquare<axes=[1], keepdims=0>(x) d = Add(a, b) y = Add(d, c)
argmax_int: the class
    float[N,5] x => int64[N] y | y = ArgMax<axis=-1, keepdims=0>(x)
cumsum_time: a running sum over time
    float[batch,T,4] x => float[batch,T,4] y | y = CumSum<reverse=1>(x, 1)
layer_norm_two_axes: over both other axes
    float[N,3,4] x => float[N,3,4] y | y = LayerNormalization<axis=1>(x, p[3,4], w[3,4])
layer_norm_by_hand (opset 12): as exported before opset 17
    float[batch,T,4] x => float[batch,T,4] y
    m = ReduceMean<axes=[-1]>(x) c = Sub(x, m) q = Pow(c, 2.0) v = ReduceMean<axes=[-1]>(q) e = Add(v, 0.1) s = Sqrt(e)
    n = Div(c, s) g = Mul(n, p[4]) y = Add(g, w[4])
rms_norm_by_hand: by the root of the mean square
    float[batch,T,4] x => float[batch,T,4] y
    q = Mul(x, x) v = ReduceMean<axes=[-1]>(q) e = Add(v, 0.1) s = Sqrt(e) r = Reciprocal(s) n = Mul(x, r)
    y = Mul(n, p[4])
instance_norm: over the picture
    float[N,2,6,6] x => float[N,2,6,6] y | y = InstanceNormalization(x, p[2], w[2])
group_norm_by_reshape: as torch exports it
    float[N,4,H,W] x => float[N,4,H,W] y
    a = Reshape(x, [0,2,-1]) n = InstanceNormalization(a, ones[2], zeros[2]) s = Shape(x) b = Reshape(n, s)
    g = Mul(b, p[4,1,1]) y = Add(g, w[4,1,1])
mean_variance_norm: over the picture
    float[N,2,6,6] x => float[N,2,6,6] y | y = MeanVarianceNormalization<axes=[2,3]>(x)
lp_norm: vectors of length one
    float[batch,T,4] x => float[batch,T,4] y | y = LpNormalization<axis=-1, p=2>(x)
local_response: over neighbouring channels
    float[N,5,3,3] x => float[N,5,3,3] y | y = LRN<size=3>(x)
activations (opset 20): many activations
    float[batch,T,4] x => float[batch,T,4] y
    a = Gelu(x) b = HardSwish(a) c = Mish(b) d = Softplus(c) e = Softsign(d) f = Selu(e) g = Celu(f)
    h = ThresholdedRelu(g) y = Erf(h)
trigonometry: functions of one number
    a = Sin(x) b = Cos(a) c = Tan(b) d = Atan(c) e = Sinh(d) f = Asinh(e) g = Abs(f) y = Log(g)
prelu_slope: a slope for each channel
    float[N,4,5] x => float[N,4,5] y | y = PRelu(x, w[4,1])
clip_constants (opset 13): limits are constants
    a = Clip(x, -1.0, 2.0) y = Clip(a, "", 1.5)
where_per_row: a condition for each row
    float[N,4] a, float[N,4] b, bool[N,1] c => float[N,4] y | y = Where(c, a, b)
comparisons: truth values
    float[N,4] a, float[N,4] b => bool[N,4] y
    c = Greater(a, b) d = LessOrEqual(a, w[4]) e = Xor(c, d) f = IsNaN(a) g = Not(f) y = And(e, g)
integer_arithmetic (constants seven): whole numbers
    int32[N,4] a, int32[N,4] b => int32[N,4] y | c = Mul(a, b) d = Sub(c, a) m = Mod(d, seven) y = Neg(m)
bits (opset 18; constants two): bits of bytes
    uint8[N,4] x => uint8[N,4] y
    a = BitShift<direction="LEFT">(x, two) b = BitwiseAnd(a, x) c = BitwiseNot(b) y = BitwiseXor(c, x)
sum_and_mean_of_many: operators of many inputs, which are not reductions
    float[N,4] a, float[N,4] b, float[N,1] c => float[N,4] y
    s = Sum(a, b, c) m = Mean(a, b) t = Max(s, m, c) y = Min(t, a)
two_inputs_of_one_rank_less: a vector for each row is given to all times
    float[N,T,4] x, float[N,4] z => float[N,T,4] y | u = Unsqueeze(z, [1]) y = Add(x, u)
broadcast_trailing (axes y=1): the batch is the last axis of the output
    float[N] x => float[3,N] y | y = Mul(x, w[3,1])
shared_threshold (axes t=None): a number that all rows share
    float[N,4] x, float t => float[N,4] y | b = Greater(x, t) y = Where(b, x, t)
shared_rate (axes rate=None; draws rate=1..5): a sampling rate that all rows share
    float[N,T] x, int64[1] rate => float[N,T] y | f = Cast<to=1>(rate) y = Div(x, f)
shared_matrix (axes m=None): a matrix of fixed shape that all rows share
    float[N,4] x, float[4,3] m => float[N,3] y | y = MatMul(x, m)
overridable_weight (constants weight): a weight that is listed among the inputs
    float[N,4] x, float[4,4] weight => float[N,4] y | y = MatMul(x, weight)
one_hot (draws x=0..6): classes
    int64[N,T] x => float[N,T,6] y | y = OneHot(x, 6, [0.0, 1.0])
one_hot_axis_0 (axes y=1; draws x=0..6; opset 11): classes go before the batch
    int64[N] x => float[6,N] y | y = OneHot<axis=0>(x, [6], [0.0, 1.0])
trilu_per_row: the last two axes
    float[N,T,T] x => float[N,T,T] y | y = Trilu<upper=0>(x)
det_per_row (draws x=-2.0..2.0): a determinant for each row
    float[N,3,3] x => float[N] y | y = Det(x)
dropout_7 (opset 7): dropout does nothing, an old opset
    y = Dropout<ratio=0.5>(x)
cast_like_round (draws x=-50.0..50.0; constants k): casts
    float[N,4] x => int64[N,4] y | r = Round(x) c = Cast<to=7>(r) y = CastLike(c, k)
dead_branch_mixes: what mixes reaches no output
    m = ReduceMean<axes=[0]>(x) d = Sub(x, m) y = Relu(x)
shrink_and_sign: steps
    a = Shrink<lambd=0.3>(x) b = Sign(a) c = Floor(x) d = Ceil(x) e = Add(b, c) y = Sub(e, d)
time_first_and_back: the batch is in the middle for a while
    float[N,T,4] x => float[N,T,4] y
    a = Transpose<perm=[2,0,1]>(x) b = Softmax<axis=0>(a) c = CumSum(b, 2) y = Transpose<perm=[1,2,0]>(c)
"""

CASES = read_cases(
    "independent",
    _TABLE,
    constants={
        "seven": np.array(7, np.int32),
        "two": np.array(2, np.uint8),
        "weight": np.eye(4, dtype=np.float32) * 2,
        "k": np.array(1),
    },
)
