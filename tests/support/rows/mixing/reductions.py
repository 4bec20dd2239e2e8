"""Rows mix in an operator that goes over an axis: reductions, softmax, sums, sorting, normalisation."""

from tests.support.rows.case import read_cases

_TABLE = """
max_axis_negative: scaled by the largest of the batch
    m = ReduceMax<axes=[-2]>(x) y = Div(x, m)
sum_axes_input: axes are an input
    m = ReduceSum(x, [0]) y = Mul(x, m)
sum_axes_computed: axes are computed from the rank
    s = Shape(x) r = Size(s) a = Sub(r, 2) v = Reshape(a, [1]) m = ReduceSum(x, v) y = Mul(x, m)
min_no_axes: no axes: over all
    m = ReduceMin(x) y = Sub(x, m)
sum_empty_axes (opset 18): empty axes: over all
    m = ReduceSum(x, []) y = Sub(x, m)
l2_keepdims_0: the reduced axis goes, so the norm of the batch is broadcast
    n = ReduceL2<axes=[0], keepdims=0>(x) y = Div(x, n)
logsumexp_both_axes: the batch is the second of the axes
    n = ReduceLogSumExp<axes=[1,0]>(x) y = Sub(x, n)
prod_of_signs: a product of signs over the batch
    s = Sign(x) p = ReduceProd<axes=[0]>(s) y = Mul(x, p)
sum_square_fp16: half precision
    float16[N,4] x => float16[N,4] y | s = Tanh(x) n = ReduceSumSquare<axes=[0]>(s) y = Sub(s, n)
l1_fp64 (opset 13): double precision
    double[N,4] x => double[N,4] y | n = ReduceL1<axes=[0]>(x) y = Div(x, n)
max_int: integers
    int64[N,4] x => int64[N,4] y | n = ReduceMax<axes=[0]>(x) y = Sub(n, x)
any_row (seen shape): any of the batch, no row axis
    bool[N,4] x => bool[N,4] y | i = Cast<to=6>(x) m = ReduceMax<axes=[0]>(i) y = Cast<to=9>(m) z = Identity(y)
softmax_axis_minus_2: a negative axis that is the batch
    y = Softmax<axis=-2>(x)
softmax_12_after_transpose (opset 12): before opset 13 axis 1 takes the batch on axis 1 along
    float[batch,T,4] x => float[batch,T,4] y
    t = Transpose<perm=[1,0,2]>(x) s = Softmax<axis=1>(t) y = Transpose<perm=[1,0,2]>(s)
softmax_last_after_transpose: the last axis is the batch: Transpose without perm
    t = Transpose(x) s = Softmax(t) y = Transpose(s)
log_softmax_9 (opset 9): log softmax, flattened
    y = LogSoftmax<axis=0>(x)
lp_normalization: norm over the batch
    y = LpNormalization<axis=0, p=2>(x)
lp_normalization_1: norm over the batch, negative axis
    y = LpNormalization<axis=-2, p=1>(x)
cumsum: running sum over rows
    y = CumSum(x, 0)
cumsum_exclusive_reverse: sum of all rows after this one
    y = CumSum<exclusive=1, reverse=1>(x, -2)
cumsum_axis_computed: the axis is computed from the rank
    s = Shape(x) r = Size(s) a = Sub(r, 2) y = CumSum(x, a)
argmin_default_axis: the default axis is the batch
    a = ArgMin<keepdims=0>(x) f = Cast<to=1>(a) y = Add(x, f)
topk_sorts_rows: all rows, each column sorted
    s = Shape(x) k = Slice(s, [0], [1]) y, i = TopK<axis=0>(x, k)
layer_norm_axis_0: normalised over rows and features
    y = LayerNormalization<axis=0>(x, w[4])
layer_norm_moved_batch: layer normalisation by hand, over the batch moved to the last axis
    t = Transpose<perm=[1,0]>(x) m = ReduceMean<axes=[-1]>(t) c = Sub(t, m) q = Mul(c, c) v = ReduceMean<axes=[-1]>(q)
    e = Add(v, 0.1) d = Sqrt(e) n = Div(c, d) y = Transpose<perm=[1,0]>(n)
mvn_default_axes: the default axes are 0, 2 and 3
    float[N,2,3,3] x => float[N,2,3,3] y | y = MeanVarianceNormalization(x)
mvn_axis_0: axes of the batch alone
    y = MeanVarianceNormalization<axes=[0]>(x)
batch_norm_ghost: batch normalisation in training, by hand
    float[N,3] x => float[N,3] y
    m = ReduceMean<axes=[0]>(x) c = Sub(x, m) q = Mul(c, c) v = ReduceMean<axes=[0]>(q) e = Add(v, 0.01) s = Sqrt(e)
    n = Div(c, s) y = Mul(n, p[3])
instance_norm_over_rows: the batch is folded into the axis of an instance
    float[N,3,5] x => float[N,3,5] y
    t = Transpose<perm=[1,2,0]>(x) f = Reshape(t, [1,3,-1]) n = InstanceNormalization(f, p[3], w[3]) s = Shape(t)
    b = Reshape(n, s) y = Transpose<perm=[2,0,1]>(b)
group_norm_one_instance (opset 18): the whole batch is one instance
    float[N,4,3] x => float[N,4,3] y
    t = Transpose<perm=[1,0,2]>(x) u = Unsqueeze(t, [0]) n = GroupNormalization<num_groups=2>(u, p[2], w[2])
    q = Squeeze(n, [0]) y = Transpose<perm=[1,0,2]>(q)
global_scale: scaled by the largest of everything
    a = Abs(x) m = ReduceMax(a) y = Div(x, m)
whitening: second moments of the batch
    c = Gemm<transA=1>(x, x) y = MatMul(x, c)
sinkhorn: rows, then columns are normalised
    e = Sigmoid(x) r = ReduceSum(e, [1]) a = Div(e, r) k = ReduceSum(a, [0]) y = Div(a, k)
mean_scalar (seen shape): one number for the batch
    float[N,4] x => float y | y = ReduceMean<keepdims=0>(x)
mean_of_rows (seen shape): no row axis
    float[N,4] x => float[4] y | y = ReduceMean<axes=[0], keepdims=0>(x)
second_output_mixes: the first output is row by row, the second is not
    float[N,4] x => float[N,4] y, float[N,4] z | y = Relu(x) c = CumSum(x, 0) z = Tanh(c)
clip_at_batch_max: a limit that comes from the batch
    h = Mul(x, 0.5) m = ReduceMax<keepdims=0>(h) y = Clip(x, "", m)
minibatch_stddev: a discriminator that looks at the spread of the batch
    float[N,4] x => float[N,5] y
    m = ReduceMean<axes=[0]>(x) c = Sub(x, m) q = Mul(c, c) v = ReduceMean<axes=[0]>(q) e = Add(v, 0.001) d = Sqrt(e)
    a = ReduceMean<axes=[1]>(d) s = Shape(x) n = Slice(s, [0], [1]) t = Concat<axis=0>(n, [1]) b = Expand(a, t)
    y = Concat<axis=1>(x, b)
longest_row_trims (draws n=1..5; seen shape): the batch is cut to its longest row
    float[N,T] x, int64[N] n => float[N,U] y | m = ReduceMax<axes=[0]>(n) y = Slice(x, [0], m, [1])
det_of_gram (draws x=-1.0..1.0): a determinant over the batch
    t = Transpose(x) c = MatMul(t, x) d = Det(c) y = Sub(x, d)
"""

CASES = read_cases("mixing", _TABLE)
