"""Rows stay apart in ONNX Runtime's own operators."""

import numpy as np

from tests.support.rows.case import read_cases

_TABLE = """
fused_matmul: a scaled product with a transposed weight
    float[N,T,4] x => float[N,T,3] y | y = com.microsoft.FusedMatMul<alpha=0.5, transB=1>(x, w[3,4])
fused_matmul_per_row: both sides have rows, one is transposed
    float[N,4,T] a, float[N,4,U] b => float[N,T,U] y | y = com.microsoft.FusedMatMul<transA=1>(a, b)
fused_matmul_moves_batch (axes y=1): the batch moves to axis 1 inside the product
    float[N,2,4] x => float[2,N,3] y | y = com.microsoft.FusedMatMul<transBatchA=1>(x, w[2,4,3])
mixture_of_experts: each row goes to its own expert
    float[N,4] x, float[N,2] route => float[N,4] y
    y = com.microsoft.MoE<k=1, activation_type="relu">(x, route, w[2,4,8], w[2,8], w[2,8,4], w[2,4])
gelu_family: four ways to write it
    float[N,T,4] x => float[N,T,4] y
    a = com.microsoft.Gelu(x) b = com.microsoft.QuickGelu<alpha=1.7>(a) c = com.microsoft.FastGelu(b, w[4])
    y = com.microsoft.BiasGelu(c, w[4])
skip_layer_norm: a residual and a normalisation
    float[N,T,4] x, float[N,T,4] skip => float[N,T,4] y
    y = com.microsoft.SkipLayerNormalization<epsilon=0.01>(x, skip, p[4], w[4], w[4])
simplified_norms: by the root of the mean square
    float[N,T,4] x => float[N,T,4] y
    a = SimplifiedLayerNormalization<axis=-1>(x, p[4]) y = com.microsoft.SkipSimplifiedLayerNormalization(a, x, p[4])
attention (draws x=-2.0..2.0): packed weights, no mask
    float[N,T,4] x => float[N,T,4] y | y = com.microsoft.Attention<num_heads=2>(x, w[4,12], w[12])
attention_mask_2d (draws x=-2.0..2.0 mask=0..2): a mask for each row
    float[N,T,4] x, int32[N,T] mask => float[N,T,4] y
    y = com.microsoft.Attention<num_heads=2>(x, w[4,12], w[12], mask)
attention_mask_lengths (draws x=-2.0..2.0 mask=1..5): a length for each row
    float[N,T,4] x, int32[N] mask => float[N,T,4] y | y = com.microsoft.Attention<num_heads=2>(x, w[4,12], w[12], mask)
attention_causal (draws x=-2.0..2.0): each step sees those before it
    float[N,T,4] x => float[N,T,4] y | y = com.microsoft.Attention<num_heads=1, unidirectional=1>(x, w[4,12], w[12])
multi_head_attention (draws q=-2.0..2.0 k=-2.0..2.0): queries, keys and values
    float[N,T,4] q, float[N,S,4] k, float[N,S,4] v => float[N,T,4] y
    y = com.microsoft.MultiHeadAttention<num_heads=2>(q, k, v)
multi_head_attention_bias (draws q=-2.0..2.0): a bias for each pair of places, the same for all rows
    float[N,4,4] q => float[N,4,4] y | y = com.microsoft.MultiHeadAttention<num_heads=2>(q, q, q, w[12], "", w[1,2,4,4])
group_query_attention (constants total; draws seen=1..6): a length for each row and a shared total
    float[N,1,16] q, float[N,1,8] k, float[N,1,8] v, float[N,1,6,8] pk, float[N,1,6,8] pv, int32[N] seen
    => float[N,1,16] y
    y, nk, nv = com.microsoft.GroupQueryAttention<num_heads=2, kv_num_heads=1>(q, k, v, pk, pv, seen, total)
rotary_embedding_ids (draws ids=0..10 mask=0..2 kinds=0..2): each row has its own positions
    float[N,T,4] x, int64[N,T] ids => float[N,T,4] y | y = com.microsoft.RotaryEmbedding(x, ids, w[10,2], w[10,2])
rotary_embedding_offset: all rows start at the same position
    float[N,T,4] x => float[N,T,4] y | y = com.microsoft.RotaryEmbedding(x, [3], w[16,2], w[16,2])
embed_layer_norm (draws ids=0..10 mask=0..2 kinds=0..2): three tables, and the length of each row from its mask
    int32[N,T] ids, int32[N,T] kinds, int32[N,T] mask => float[N,T,4] y, int32[N] m
    y, m = com.microsoft.EmbedLayerNormalization<epsilon=0.01>(ids, kinds, w[10,4], w[16,4], w[2,4], p[4], w[4], mask)
matmul_integer_to_float (constants z): constant scales
    uint8[N,4] x => float[N,3] y | y = com.microsoft.MatMulIntegerToFloat(x, u8[4,3], 0.05, p[3], z)
matmul_4_bits: a weight of four bits
    float[N,32] x => float[N,2] y | y = com.microsoft.MatMulNBits<K=32, N=2, bits=4, block_size=32>(x, u8[2,1,16], p[2])
qlinear_add_and_sigmoid (constants z k): quantised elements
    uint8[N,4] x => uint8[N,4] y
    a = com.microsoft.QLinearAdd(x, 0.1, z, k, 0.1, z, 0.2, z) b = com.microsoft.QLinearSigmoid(a, 0.2, z, 0.01, z)
    y = com.microsoft.QLinearMul(b, 0.01, z, x, 0.1, z, 0.1, z)
qlinear_pool (constants z): a quantised pool
    uint8[N,2,4,4] x => uint8[N,2,1,1] y | y = com.microsoft.QLinearGlobalAveragePool(x, 0.1, z, 0.1, z)
qgemm (constants z): a quantised layer
    uint8[N,4] x => float[N,3] y | y = com.microsoft.QGemm<transB=0>(x, 0.05, z, u8[4,3], 0.02, z)
fused_conv: a convolution with its activation
    float[N,1,5,5] x => float[N,2,3,3] y | y = com.microsoft.FusedConv<activation="Relu">(x, w[2,1,3,3], w[2])
fused_gemm: a layer with its activation
    float[N,4] x => float[N,3] y | y = com.microsoft.FusedGemm<activation="Relu">(x, w[4,3], w[3])
max_pool_with_shared_mask (constants mask): one mask for all
    float[N,2,4,4] x => float[N,2,3,3] y | y = com.microsoft.MaxpoolWithMask<kernel_shape=[2,2]>(x, mask)
distance_to_prototypes: distances to stored points
    float[N,4] x => float[N,3] y | y = com.microsoft.CDist<metric="sqeuclidean">(x, w[3,4])
hash: a hash of each number
    int32[N,2] x => int32[N,2] y | y = com.microsoft.MurmurHash3<positive=0>(x)
ngram_repeat_block (draws ids=0..4): what a row has said before is forbidden
    int64[N,6] ids, float[N,4] scores => float[N,4] y | y = com.microsoft.NGramRepeatBlock<ngram_size=2>(ids, scores)
nhwc_pool: channels last
    uint8[N,4,4,2] x => uint8[N,3,3,2] y | y = com.microsoft.NhwcMaxPool<kernel_shape=[2,2]>(x)
lower_triangle: the last two axes
    float[N,2,4,4] x => float[N,2,4,4] y | t = com.microsoft.Trilu<upper=0>(x) y = Neg(t)
unfold_windows: windows of a row
    float[N,6] x => float[N,2,3] y | y = com.microsoft.UnfoldTensor<dim=1, size=3, step=3>(x)
inverse (draws x=near_identity): a matrix for each row
    float[N,3,3] x => float[N,3,3] y | y = com.microsoft.Inverse(x)
dequantised_weight (constants z100 k4): a weight in bytes
    float[N,T,4] x => float[N,T,4] y
    d = com.microsoft.DequantizeLinear(k4, 0.02, z100) f = MatMul(x, d) y = Add(x, f)
"""

CASES = read_cases(
    "independent",
    _TABLE,
    constants={
        "total": np.array(6, np.int32),
        "z": np.array(10, np.uint8),
        "z100": np.array(100, np.uint8),
        "k": np.array([1, 90, 200, 7], np.uint8),
        "k4": np.arange(0, 160, 10).reshape(4, 4).astype(np.uint8),
        "mask": np.tile(np.array([1, 0, 1, 1], np.int32), 4).reshape(1, 1, 4, 4),
    },
    draws={"near_identity": lambda rng, shape: rng.uniform(-0.2, 0.2, shape) + np.eye(3)},
)
