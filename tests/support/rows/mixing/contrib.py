"""Rows mix in ONNX Runtime's own operators."""

import numpy as np

from tests.support.rows.case import Case, between, mixing

_X = "float[N,4] x => float[N,4] y"
_SMALL = {"x": between(-2.0, 2.0)}
_IDS = {"ids": between(0, 10)}

CASES: list[Case] = [
    mixing(
        "fused_matmul_gram",
        "float[N,4] x => float[N,M] y",
        "y = com.microsoft.FusedMatMul<transB=1>(x, x)",
        "each row meets each other",
        seen="shape",
    ),
    mixing(
        "fused_matmul_second_moments",
        _X,
        "c = com.microsoft.FusedMatMul<transA=1>(x, x) y = MatMul(x, c)",
        "the left side is transposed",
    ),
    mixing(
        "fused_matmul_trans_batch",
        "float[N,2,4] x => float[N,2,4] y",
        "g = com.microsoft.FusedMatMul<transA=1, transBatchA=1, transBatchB=1>(x, x) m = ReduceSum(g) y = Add(x, m)",
        "the batch is moved inside the product and summed",
    ),
    mixing(
        "dynamic_quantize_matmul",
        "float[N,4] x => float[N,3] y",
        "y = com.microsoft.DynamicQuantizeMatMul(x, u8[4,3], p[3], z)",
        "one scale for the batch",
        constants={"z": np.array([100, 90, 110], np.uint8)},
    ),
    mixing(
        "dynamic_quantize_lstm",
        "float[T,batch,4] x => float[T,1,batch,2] y",
        'y = com.microsoft.DynamicQuantizeLSTM<hidden_size=2>(x, kw, kr, "", "", "", "", "", s, z, s, z)',
        "one scale for the batch",
        constants={
            "kw": np.arange(-16, 16).reshape(1, 4, 8).astype(np.int8),
            "kr": np.arange(-8, 8).reshape(1, 2, 8).astype(np.int8),
            "s": np.array([0.05], np.float32),
            "z": np.array([0], np.int8),
        },
        axes={"x": 1, "y": 2},
    ),
    mixing(
        "c_dist_of_rows",
        "float[N,4] x => float[N,M] y",
        'y = com.microsoft.CDist<metric="sqeuclidean">(x, x)',
        "distances of rows to each other",
        seen="shape",
    ),
    mixing(
        "unique_contrib",
        "float[N] x => float[M] y",
        "r = Round(x) y, i, c = com.microsoft.Unique(r)",
        "values of the batch, once each",
        seen="shape",
    ),
    mixing(
        "crop_and_resize_first",
        "float[N,1,5,5] x, float[N,4] rois => float[N,1,2,2] y",
        "s = Shape(rois) n = Slice(s, [0], [1]) i = ConstantOfShape<value = int32[1] {0}>(n) "
        "y = com.microsoft.CropAndResize(x, rois, i, size)",
        "all crops are of the first picture",
        constants={"size": np.array([2, 2], np.int32)},
        draws={"rois": between(0.0, 1.0)},
    ),
    mixing(
        "max_pool_with_mask",
        "float[N,1,4,4] x, int32[N,1,4,4] mask => float[N,1,3,3] y",
        "y = com.microsoft.MaxpoolWithMask<kernel_shape=[2,2]>(x, mask)",
        "ONNX Runtime reads the mask of another place",
        draws={"mask": between(0, 2)},
    ),
    mixing("trilu_contrib", _X, "y = com.microsoft.Trilu<upper=1>(x)", "the batch is one of the last two axes"),
    mixing(
        "pad_contrib", _X, "p = com.microsoft.Pad(x, [1,0,0,0], 0.0) y = Slice(p, [0], [-1], [0])", "rows move by one"
    ),
    mixing(
        "range_contrib",
        _X,
        "s = Shape(x) n = Gather(s, 0) m = Cast<to=1>(n) r = com.microsoft.Range(0.0, m, 1.0) "
        "u = Unsqueeze(r, [1]) y = Add(x, u)",
        "each row's place is added",
    ),
    mixing(
        "gather_nd_contrib",
        _X,
        "s = Shape(x) n = Slice(s, [0], [1]) k = Concat<axis=0>(n, [1]) "
        "z = ConstantOfShape<value = int64[1] {0}>(k) y = com.microsoft.GatherND(x, z)",
        "the first row for all",
    ),
    mixing(
        "expand_dims_then_pool",
        _X,
        "u = com.microsoft.ExpandDims(x, a) v = com.microsoft.ExpandDims(u, a) "
        "p = AveragePool<kernel_shape=[2,1], pads=[1,0,0,0]>(v) y = Squeeze(p, [0,1])",
        "the batch becomes the height of a picture",
        constants={"a": np.array(0, np.int32)},
    ),
    mixing(
        "attention_batch_is_time",
        "float[N,2,4] x => float[N,2,4] y",
        "t = Transpose<perm=[1,0,2]>(x) a = com.microsoft.Attention<num_heads=2>(t, w[4,12], w[12]) "
        "y = Transpose<perm=[1,0,2]>(a)",
        "rows attend to each other",
        draws=_SMALL,
    ),
    mixing(
        "attention_unsqueezed",
        _X,
        "u = Unsqueeze(x, [0]) a = com.microsoft.Attention<num_heads=2>(u, w[4,12], w[12]) y = Squeeze(a, [0])",
        "rows are the steps of one sequence",
        draws=_SMALL,
    ),
    mixing(
        "multi_head_attention_over_rows",
        "float[N,4] q, float[N,4] k => float[N,4] y",
        "a = Unsqueeze(q, [0]) b = Unsqueeze(k, [0]) "
        "o = com.microsoft.MultiHeadAttention<num_heads=2>(a, b, b) y = Squeeze(o, [0])",
        "each row sees the keys of all",
    ),
    mixing(
        "group_query_total_of_batch",
        "float[N,1,16] q, float[N,1,8] k, float[N,1,8] v, float[N,1,6,8] pk, float[N,1,6,8] pv, "
        "int32[N] seen => float[N,1,16] y, float[N,1,M,8] nk",
        "m = ReduceMax<keepdims=0>(seen) o = Add(m, one) "
        "y, nk, nv = com.microsoft.GroupQueryAttention<num_heads=2, kv_num_heads=1>(q, k, v, pk, pv, seen, o)",
        "the total length is the longest of the batch",
        constants={"one": np.array(1, np.int32)},
        draws={"seen": between(1, 9)},
        seen="shape",
    ),
    mixing(
        "rotary_offset_of_batch",
        "float[N,T,4] x, int64[N] start => float[N,T,4] y",
        "m = ReduceMin<axes=[0], keepdims=1>(start) y = com.microsoft.RotaryEmbedding(x, m, w[16,2], w[16,2])",
        "all rows start at the smallest start",
        draws={"start": between(0, 6)},
    ),
    mixing(
        "rotary_position_is_place",
        "float[N,1,4] x => float[N,1,4] y",
        "t = Transpose<perm=[1,0,2]>(x) r = com.microsoft.RotaryEmbedding(t, [0], w[32,2], w[32,2]) "
        "y = Transpose<perm=[1,0,2]>(r)",
        "positions go along the batch",
    ),
    mixing(
        "embed_layer_norm_time_major",
        "int32[N] ids => float[N,4] y",
        "u = Unsqueeze(ids, [0]) "
        'e, m = com.microsoft.EmbedLayerNormalization<epsilon=0.01>(u, "", w[10,4], w[32,4], "", p[4], w[4]) '
        "y = Squeeze(e, [0])",
        "positions go along the batch",
        draws=_IDS,
    ),
    mixing(
        "skip_layer_norm_of_shifted",
        "float[N,T,4] x => float[N,T,4] y",
        "s = Slice(x, [-1], [9999], [0]) z = Shape(x) e = Expand(s, z) "
        "y = com.microsoft.SkipLayerNormalization<epsilon=0.01>(x, e, p[4])",
        "the residual is the last row's",
    ),
    mixing(
        "qlinear_concat_pool",
        "uint8[N,1,2,2] x => uint8[1,1,1,1] y",
        "t = Transpose<perm=[1,0,2,3]>(x) f = Reshape(t, [1,1,-1,2]) "
        "y = com.microsoft.QLinearGlobalAveragePool(f, 0.1, z, 0.1, z)",
        "a quantised pool over the batch",
        constants={"z": np.array(10, np.uint8)},
        seen="shape",
    ),
    mixing(
        "qlinear_softmax_over_rows",
        "uint8[N,4] x => uint8[N,4] y",
        "y = com.microsoft.QLinearSoftmax<axis=0, opset=13>(x, 0.05, z, 0.004, k)",
        "a quantised softmax over the batch",
        constants={"z": np.array(10, np.uint8), "k": np.array(0, np.uint8)},
    ),
    mixing(
        "qlinear_softmax_12",
        "uint8[N,2,4] x => uint8[N,2,4] y",
        "y = com.microsoft.QLinearSoftmax<axis=0, opset=12>(x, 0.05, z, 0.001, k)",
        "the axis of an old opset flattens everything",
        constants={"z": np.array(10, np.uint8), "k": np.array(0, np.uint8)},
    ),
    mixing(
        "sampled_grid_contrib",
        "float[N,1,4,4] x, float[N,3,3,2] g => float[N,1,3,3] y",
        "a = Slice(g, [-1], [-9999], [0], [-1]) y = com.microsoft.GridSample(x, a)",
        "grids in reverse",
        draws={"g": between(-1.0, 1.0)},
    ),
    mixing(
        "unfold_over_rows",
        "float[N] x => float[M,3] y",
        "y = com.microsoft.UnfoldTensor<dim=0, size=3, step=1>(x)",
        "windows of three rows",
        seen="failure",
        sizes=(1, 3, 5),
    ),
    mixing(
        "time_warping",
        "float[N,4] x => float[1] y",
        "a = Unsqueeze(x, [0]) b = com.microsoft.DynamicTimeWarping(x) c = Shape(b) d = Gather(c, [1]) "
        "y = Cast<to=1>(d)",
        "a path over the batch",
        seen="shape",
    ),
    mixing(
        "ngram_repeat_joined",
        "int64[N,3] ids, float[N,4] scores => float[N,4] y",
        "f = Reshape(ids, [1,-1]) m = ReduceMean<axes=[0]>(scores) "
        "n = com.microsoft.NGramRepeatBlock<ngram_size=2>(f, m) y = Add(scores, n)",
        "what any row has said is forbidden",
        draws={"ids": between(0, 4)},
    ),
    mixing(
        "reverse_through_sample_op",
        _X,
        "a = com.microsoft.SampleOp(x) b = Transpose(a) c = Slice(b, [-1], [-9999], [1], [-1]) y = Transpose(c)",
        "rows in reverse through a transpose",
    ),
    mixing(
        "transpose_matmul",
        "float[N,4] x => float[N,4] y",
        "m = com.microsoft.TransposeMatMul<transA=1>(x, x) y = MatMul(x, m)",
        "second moments of the batch",
    ),
    mixing(
        "experts_choose_rows",
        "float[N,4] x => float[N,4] y",
        "g = MatMul(x, w[4,3]) a = ArgMax<axis=0, keepdims=1>(g) f = Cast<to=1>(a) e = MatMul(f, w[3,4]) y = Add(x, e)",
        "experts choose their rows",
    ),
    mixing(
        "expert_of_limited_capacity",
        "float[N,4] x => float[N,4] y",
        "k0 = Gather<axis=1>(x, 0) b = Greater(k0, 0.0) i = Cast<to=7>(b) c = CumSum(i, 0) "
        "l = LessOrEqual(c, 3) f = Cast<to=1>(l) u = Unsqueeze(f, [1]) y = Mul(x, u)",
        "an expert takes the first three rows that want it",
    ),
    mixing(
        "route_over_rows",
        "float[N,4] x => float[N,4] y",
        "g = MatMul(x, w[4,2]) p = Softmax<axis=0>(g) "
        'y = com.microsoft.MoE<k=1, activation_type="relu">(x, p, w[2,4,8], w[2,8], w[2,8,4], w[2,4])',
        "experts are weighted over the batch",
    ),
    mixing(
        "inverse_of_moments",
        _X,
        "t = Transpose(x) g = MatMul(t, x) e = Add(g, eye) i = com.microsoft.Inverse(e) y = MatMul(x, i)",
        "the inverse of the second moments of the batch",
        constants={"eye": np.eye(4, dtype=np.float32) * 5},
    ),
]
