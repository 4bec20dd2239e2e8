"""Rows mix in ONNX Runtime's own operators."""

import numpy as np

from tests.support.rows.case import read_cases

_TABLE = """
fused_matmul_gram (seen shape): each row meets each other
    float[N,4] x => float[N,M] y | y = com.microsoft.FusedMatMul<transB=1>(x, x)
fused_matmul_second_moments: the left side is transposed
    c = com.microsoft.FusedMatMul<transA=1>(x, x) y = MatMul(x, c)
fused_matmul_trans_batch: the batch is moved inside the product and summed
    float[N,2,4] x => float[N,2,4] y
    g = com.microsoft.FusedMatMul<transA=1, transBatchA=1, transBatchB=1>(x, x) m = ReduceSum(g) y = Add(x, m)
c_dist_of_rows (seen shape): distances of rows to each other
    float[N,4] x => float[N,M] y | y = com.microsoft.CDist<metric="sqeuclidean">(x, x)
unique_contrib (seen shape): values of the batch, once each
    float[N] x => float[M] y | r = Round(x) y, i, c = com.microsoft.Unique(r)
crop_and_resize_first (constants size; draws rois=0.0..1.0): all crops are of the first picture
    float[N,1,5,5] x, float[N,4] rois => float[N,1,2,2] y
    s = Shape(rois) n = Slice(s, [0], [1]) i = ConstantOfShape<value = int32[1] {0}>(n)
    y = com.microsoft.CropAndResize(x, rois, i, size)
max_pool_with_mask (draws mask=0..2): ONNX Runtime reads the mask of another place
    float[N,1,4,4] x, int32[N,1,4,4] mask => float[N,1,3,3] y
    y = com.microsoft.MaxpoolWithMask<kernel_shape=[2,2]>(x, mask)
trilu_contrib: the batch is one of the last two axes
    y = com.microsoft.Trilu<upper=1>(x)
pad_contrib: rows move by one
    p = com.microsoft.Pad(x, [1,0,0,0], 0.0) y = Slice(p, [0], [-1], [0])
range_contrib: each row's place is added
    s = Shape(x) n = Gather(s, 0) m = Cast<to=1>(n) r = com.microsoft.Range(0.0, m, 1.0) u = Unsqueeze(r, [1])
    y = Add(x, u)
gather_nd_contrib: the first row for all
    s = Shape(x) n = Slice(s, [0], [1]) k = Concat<axis=0>(n, [1]) z = ConstantOfShape<value = int64[1] {0}>(k)
    y = com.microsoft.GatherND(x, z)
expand_dims_then_pool (constants a): the batch becomes the height of a picture
    u = com.microsoft.ExpandDims(x, a) v = com.microsoft.ExpandDims(u, a)
    p = AveragePool<kernel_shape=[2,1], pads=[1,0,0,0]>(v) y = Squeeze(p, [0,1])
attention_batch_is_time (draws x=-2.0..2.0): rows attend to each other
    float[N,2,4] x => float[N,2,4] y
    t = Transpose<perm=[1,0,2]>(x) a = com.microsoft.Attention<num_heads=2>(t, w[4,12], w[12])
    y = Transpose<perm=[1,0,2]>(a)
attention_unsqueezed (draws x=-2.0..2.0): rows are the steps of one sequence
    u = Unsqueeze(x, [0]) a = com.microsoft.Attention<num_heads=2>(u, w[4,12], w[12]) y = Squeeze(a, [0])
multi_head_attention_over_rows: each row sees the keys of all
    float[N,4] q, float[N,4] k => float[N,4] y
    a = Unsqueeze(q, [0]) b = Unsqueeze(k, [0]) o = com.microsoft.MultiHeadAttention<num_heads=2>(a, b, b)
    y = Squeeze(o, [0])
group_query_total_of_batch (constants one; draws seen=1..9; seen shape): the total length is the longest of the batch
    float[N,1,16] q, float[N,1,8] k, float[N,1,8] v, float[N,1,6,8] pk, float[N,1,6,8] pv, int32[N] seen
    => float[N,1,16] y, float[N,1,M,8] nk
    m = ReduceMax<keepdims=0>(seen) o = Add(m, one)
    y, nk, nv = com.microsoft.GroupQueryAttention<num_heads=2, kv_num_heads=1>(q, k, v, pk, pv, seen, o)
rotary_offset_of_batch (draws start=0..6): all rows start at the smallest start
    float[N,T,4] x, int64[N] start => float[N,T,4] y
    m = ReduceMin<axes=[0], keepdims=1>(start) y = com.microsoft.RotaryEmbedding(x, m, w[16,2], w[16,2])
rotary_position_is_place: positions go along the batch
    float[N,1,4] x => float[N,1,4] y
    t = Transpose<perm=[1,0,2]>(x) r = com.microsoft.RotaryEmbedding(t, [0], w[32,2], w[32,2])
    y = Transpose<perm=[1,0,2]>(r)
embed_layer_norm_time_major (draws ids=0..10): positions go along the batch
    int32[N] ids => float[N,4] y
    u = Unsqueeze(ids, [0])
    e, m = com.microsoft.EmbedLayerNormalization<epsilon=0.01>(u, "", w[10,4], w[32,4], "", p[4], w[4])
    y = Squeeze(e, [0])
skip_layer_norm_of_shifted: the residual is the last row's
    float[N,T,4] x => float[N,T,4] y
    s = Slice(x, [-1], [9999], [0]) z = Shape(x) e = Expand(s, z)
    y = com.microsoft.SkipLayerNormalization<epsilon=0.01>(x, e, p[4])
qlinear_concat_pool (constants z; seen shape): a quantised pool over the batch
    uint8[N,1,2,2] x => uint8[1,1,1,1] y
    t = Transpose<perm=[1,0,2,3]>(x) f = Reshape(t, [1,1,-1,2])
    y = com.microsoft.QLinearGlobalAveragePool(f, 0.1, z, 0.1, z)
qlinear_softmax_over_rows (constants z k): a quantised softmax over the batch
    uint8[N,4] x => uint8[N,4] y | y = com.microsoft.QLinearSoftmax<axis=0, opset=13>(x, 0.05, z, 0.004, k)
qlinear_softmax_12 (constants z k): the axis of an old opset flattens everything
    uint8[N,2,4] x => uint8[N,2,4] y | y = com.microsoft.QLinearSoftmax<axis=0, opset=12>(x, 0.05, z, 0.001, k)
sampled_grid_contrib (draws g=-1.0..1.0): grids in reverse
    float[N,1,4,4] x, float[N,3,3,2] g => float[N,1,3,3] y
    a = Slice(g, [-1], [-9999], [0], [-1]) y = com.microsoft.GridSample(x, a)
unfold_over_rows (seen failure; sizes 1,3,5): windows of three rows
    float[N] x => float[M,3] y | y = com.microsoft.UnfoldTensor<dim=0, size=3, step=1>(x)
time_warping (seen shape): a path over the batch
    float[N,4] x => float[1] y
    a = Unsqueeze(x, [0]) b = com.microsoft.DynamicTimeWarping(x) c = Shape(b) d = Gather(c, [1]) y = Cast<to=1>(d)
ngram_repeat_joined (draws ids=0..4): what any row has said is forbidden
    int64[N,3] ids, float[N,4] scores => float[N,4] y
    f = Reshape(ids, [1,-1]) m = ReduceMean<axes=[0]>(scores) n = com.microsoft.NGramRepeatBlock<ngram_size=2>(f, m)
    y = Add(scores, n)
reverse_through_sample_op: rows in reverse through a transpose
    a = com.microsoft.SampleOp(x) b = Transpose(a) c = Slice(b, [-1], [-9999], [1], [-1]) y = Transpose(c)
transpose_matmul: second moments of the batch
    m = com.microsoft.TransposeMatMul<transA=1>(x, x) y = MatMul(x, m)
experts_choose_rows: experts choose their rows
    g = MatMul(x, w[4,3]) a = ArgMax<axis=0, keepdims=1>(g) f = Cast<to=1>(a) e = MatMul(f, w[3,4]) y = Add(x, e)
expert_of_limited_capacity: an expert takes the first three rows that want it
    k0 = Gather<axis=1>(x, 0) b = Greater(k0, 0.0) i = Cast<to=7>(b) c = CumSum(i, 0) l = LessOrEqual(c, 3)
    f = Cast<to=1>(l) u = Unsqueeze(f, [1]) y = Mul(x, u)
route_over_rows: experts are weighted over the batch
    g = MatMul(x, w[4,2]) p = Softmax<axis=0>(g)
    y = com.microsoft.MoE<k=1, activation_type="relu">(x, p, w[2,4,8], w[2,8], w[2,8,4], w[2,4])
inverse_of_moments (constants eye): the inverse of the second moments of the batch
    t = Transpose(x) g = MatMul(t, x) e = Add(g, eye) i = com.microsoft.Inverse(e) y = MatMul(x, i)
dynamic_quantize_matmul (constants z3): one scale for the batch
    float[N,4] x => float[N,3] y | y = com.microsoft.DynamicQuantizeMatMul(x, u8[4,3], p[3], z3)
dynamic_quantize_lstm (constants kw kr s z1; axes x=1 y=2): one scale for the batch
    float[T,batch,4] x => float[T,1,batch,2] y
    y = com.microsoft.DynamicQuantizeLSTM<hidden_size=2>(x, kw, kr, "", "", "", "", "", s, z1, s, z1)
"""

CASES = read_cases(
    "mixing",
    _TABLE,
    constants={
        "size": np.array([2, 2], np.int32),
        "a": np.array(0, np.int32),
        "one": np.array(1, np.int32),
        "z": np.array(10, np.uint8),
        "z1": np.array([0], np.int8),
        "z3": np.array([100, 90, 110], np.uint8),
        "k": np.array(0, np.uint8),
        "eye": np.eye(4, dtype=np.float32) * 5,
        "kw": np.arange(-16, 16).reshape(1, 4, 8).astype(np.int8),
        "kr": np.arange(-8, 8).reshape(1, 2, 8).astype(np.int8),
        "s": np.array([0.05], np.float32),
    },
)
