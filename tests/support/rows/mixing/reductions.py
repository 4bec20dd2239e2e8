"""Rows mix in an operator that goes over an axis: reductions, softmax, sums, sorting, normalisation."""

from tests.support.rows.case import Case, between, mixing

_X = "float[N,4] x => float[N,4] y"
_XTC = "float[batch,T,4] x => float[batch,T,4] y"

CASES: list[Case] = [
    mixing("mean_axis_0", _X, "m = ReduceMean<axes=[0]>(x) y = Sub(x, m)", "centred on the batch"),
    mixing("max_axis_negative", _X, "m = ReduceMax<axes=[-2]>(x) y = Div(x, m)", "scaled by the largest of the batch"),
    mixing("sum_axes_input", _X, "m = ReduceSum(x, [0]) y = Mul(x, m)", "axes are an input"),
    mixing(
        "sum_axes_computed",
        _X,
        "s = Shape(x) r = Size(s) a = Sub(r, 2) v = Reshape(a, [1]) m = ReduceSum(x, v) y = Mul(x, m)",
        "axes are computed from the rank",
    ),
    mixing("min_no_axes", _X, "m = ReduceMin(x) y = Sub(x, m)", "no axes: over all"),
    mixing("sum_empty_axes", _X, "m = ReduceSum(x, []) y = Sub(x, m)", "empty axes: over all", opset=18),
    mixing(
        "l2_keepdims_0",
        _X,
        "n = ReduceL2<axes=[0], keepdims=0>(x) y = Div(x, n)",
        "the reduced axis goes, so the norm of the batch is broadcast",
    ),
    mixing(
        "logsumexp_both_axes",
        _X,
        "n = ReduceLogSumExp<axes=[1,0]>(x) y = Sub(x, n)",
        "the batch is the second of the axes",
    ),
    mixing(
        "prod_of_signs",
        "float[N,4] x => float[N,4] y",
        "s = Sign(x) p = ReduceProd<axes=[0]>(s) y = Mul(x, p)",
        "a product of signs over the batch",
    ),
    mixing(
        "sum_square_fp16",
        "float16[N,4] x => float16[N,4] y",
        "s = Tanh(x) n = ReduceSumSquare<axes=[0]>(s) y = Sub(s, n)",
        "half precision",
    ),
    mixing(
        "l1_fp64",
        "double[N,4] x => double[N,4] y",
        "n = ReduceL1<axes=[0]>(x) y = Div(x, n)",
        "double precision",
        opset=13,
    ),
    mixing("max_int", "int64[N,4] x => int64[N,4] y", "n = ReduceMax<axes=[0]>(x) y = Sub(n, x)", "integers"),
    mixing(
        "any_row",
        "bool[N,4] x => bool[N,4] y",
        "i = Cast<to=6>(x) m = ReduceMax<axes=[0]>(i) y = Cast<to=9>(m) z = Identity(y)",
        "any of the batch, no row axis",
        seen="shape",
    ),
    mixing("softmax_axis_0", _X, "y = Softmax<axis=0>(x)", "softmax over the batch"),
    mixing("softmax_axis_minus_2", _X, "y = Softmax<axis=-2>(x)", "a negative axis that is the batch"),
    mixing(
        "softmax_11_flattens_0", _XTC, "y = Softmax<axis=0>(x)", "before opset 13 axis 0 flattens everything", opset=11
    ),
    mixing(
        "softmax_12_after_transpose",
        _XTC,
        "t = Transpose<perm=[1,0,2]>(x) s = Softmax<axis=1>(t) y = Transpose<perm=[1,0,2]>(s)",
        "before opset 13 axis 1 takes the batch on axis 1 along",
        opset=12,
    ),
    mixing(
        "softmax_last_after_transpose",
        _X,
        "t = Transpose(x) s = Softmax(t) y = Transpose(s)",
        "the last axis is the batch: Transpose without perm",
    ),
    mixing("log_softmax_9", _X, "y = LogSoftmax<axis=0>(x)", "log softmax, flattened", opset=9),
    mixing("hardmax_axis_0", _X, "y = Hardmax<axis=0>(x)", "the first of the largest of the batch", opset=13),
    mixing("lp_normalization", _X, "y = LpNormalization<axis=0, p=2>(x)", "norm over the batch"),
    mixing("lp_normalization_1", _X, "y = LpNormalization<axis=-2, p=1>(x)", "norm over the batch, negative axis"),
    mixing("cumsum", _X, "y = CumSum(x, 0)", "running sum over rows"),
    mixing(
        "cumsum_exclusive_reverse", _X, "y = CumSum<exclusive=1, reverse=1>(x, -2)", "sum of all rows after this one"
    ),
    mixing(
        "cumsum_axis_computed",
        _X,
        "s = Shape(x) r = Size(s) a = Sub(r, 2) y = CumSum(x, a)",
        "the axis is computed from the rank",
    ),
    mixing("argmax_axis_0", _X, "a = ArgMax<axis=0>(x) f = Cast<to=1>(a) y = Add(x, f)", "which row is largest"),
    mixing(
        "argmin_default_axis",
        _X,
        "a = ArgMin<keepdims=0>(x) f = Cast<to=1>(a) y = Add(x, f)",
        "the default axis is the batch",
    ),
    mixing(
        "topk_sorts_rows",
        _X,
        "s = Shape(x) k = Slice(s, [0], [1]) y, i = TopK<axis=0>(x, k)",
        "all rows, each column sorted",
    ),
    mixing("topk_largest_row", _X, "v, i = TopK<axis=0>(x, [1]) y = Sub(x, v)", "the largest of the batch"),
    mixing("topk_8", _X, "v, i = TopK<axis=-2, k=1>(x) y = Sub(x, v)", "k is an attribute", opset=9),
    mixing("layer_norm_axis_0", _X, "y = LayerNormalization<axis=0>(x, w[4])", "normalised over rows and features"),
    mixing(
        "layer_norm_moved_batch",
        _X,
        "t = Transpose<perm=[1,0]>(x) m = ReduceMean<axes=[-1]>(t) c = Sub(t, m) q = Mul(c, c) "
        "v = ReduceMean<axes=[-1]>(q) "
        "e = Add(v, 0.1) d = Sqrt(e) n = Div(c, d) y = Transpose<perm=[1,0]>(n)",
        "layer normalisation by hand, over the batch moved to the last axis",
    ),
    mixing(
        "mvn_default_axes",
        "float[N,2,3,3] x => float[N,2,3,3] y",
        "y = MeanVarianceNormalization(x)",
        "the default axes are 0, 2 and 3",
    ),
    mixing("mvn_axis_0", _X, "y = MeanVarianceNormalization<axes=[0]>(x)", "axes of the batch alone"),
    mixing(
        "batch_norm_training",
        "float[N,3,5] x => float[N,3,5] y",
        "y, m, v = BatchNormalization<training_mode=1>(x, p[3], w[3], w[3], p[3])",
        "statistics of the batch",
        opset=15,
    ),
    mixing(
        "batch_norm_ghost",
        "float[N,3] x => float[N,3] y",
        "m = ReduceMean<axes=[0]>(x) c = Sub(x, m) q = Mul(c, c) v = ReduceMean<axes=[0]>(q) "
        "e = Add(v, 0.01) s = Sqrt(e) "
        "n = Div(c, s) y = Mul(n, p[3])",
        "batch normalisation in training, by hand",
    ),
    mixing(
        "instance_norm_over_rows",
        "float[N,3,5] x => float[N,3,5] y",
        "t = Transpose<perm=[1,2,0]>(x) f = Reshape(t, [1,3,-1]) n = InstanceNormalization(f, p[3], w[3]) "
        "s = Shape(t) b = Reshape(n, s) y = Transpose<perm=[2,0,1]>(b)",
        "the batch is folded into the axis of an instance",
    ),
    mixing(
        "group_norm_one_instance",
        "float[N,4,3] x => float[N,4,3] y",
        "t = Transpose<perm=[1,0,2]>(x) u = Unsqueeze(t, [0]) n = GroupNormalization<num_groups=2>(u, p[2], w[2]) "
        "q = Squeeze(n, [0]) y = Transpose<perm=[1,0,2]>(q)",
        "the whole batch is one instance",
        opset=18,
    ),
    mixing("global_scale", _X, "a = Abs(x) m = ReduceMax(a) y = Div(x, m)", "scaled by the largest of everything"),
    mixing("whitening", _X, "c = Gemm<transA=1>(x, x) y = MatMul(x, c)", "second moments of the batch"),
    mixing(
        "sinkhorn",
        _X,
        "e = Sigmoid(x) r = ReduceSum(e, [1]) a = Div(e, r) k = ReduceSum(a, [0]) y = Div(a, k)",
        "rows, then columns are normalised",
    ),
    mixing(
        "mean_scalar",
        "float[N,4] x => float y",
        "y = ReduceMean<keepdims=0>(x)",
        "one number for the batch",
        seen="shape",
    ),
    mixing(
        "mean_of_rows",
        "float[N,4] x => float[4] y",
        "y = ReduceMean<axes=[0], keepdims=0>(x)",
        "no row axis",
        seen="shape",
    ),
    mixing(
        "second_output_mixes",
        "float[N,4] x => float[N,4] y, float[N,4] z",
        "y = Relu(x) c = CumSum(x, 0) z = Tanh(c)",
        "the first output is row by row, the second is not",
    ),
    mixing(
        "clip_at_batch_max",
        _X,
        'h = Mul(x, 0.5) m = ReduceMax<keepdims=0>(h) y = Clip(x, "", m)',
        "a limit that comes from the batch",
    ),
    mixing(
        "minibatch_stddev",
        "float[N,4] x => float[N,5] y",
        "m = ReduceMean<axes=[0]>(x) c = Sub(x, m) q = Mul(c, c) v = ReduceMean<axes=[0]>(q) "
        "e = Add(v, 0.001) d = Sqrt(e) "
        "a = ReduceMean<axes=[1]>(d) s = Shape(x) n = Slice(s, [0], [1]) t = Concat<axis=0>(n, [1]) "
        "b = Expand(a, t) "
        "y = Concat<axis=1>(x, b)",
        "a discriminator that looks at the spread of the batch",
    ),
    mixing(
        "longest_row_trims",
        "float[N,T] x, int64[N] n => float[N,U] y",
        "m = ReduceMax<axes=[0]>(n) y = Slice(x, [0], m, [1])",
        "the batch is cut to its longest row",
        draws={"n": between(1, 5)},
        seen="shape",
    ),
    mixing(
        "det_of_gram",
        _X,
        "t = Transpose(x) c = MatMul(t, x) d = Det(c) y = Sub(x, d)",
        "a determinant over the batch",
        draws={"x": between(-1.0, 1.0)},
    ),
]
