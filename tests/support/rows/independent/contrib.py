"""Rows stay apart in ONNX Runtime's own operators."""

import numpy as np

from tests.support.rows.case import Case, between, independent

_XTC = "float[N,T,4] x => float[N,T,4] y"
_SMALL = between(-2.0, 2.0)
_IDS = {"ids": between(0, 10), "mask": between(0, 2), "kinds": between(0, 2)}

CASES: list[Case] = [
    independent(
        "fused_matmul",
        "float[N,T,4] x => float[N,T,3] y",
        "y = com.microsoft.FusedMatMul<alpha=0.5, transB=1>(x, w[3,4])",
        "a scaled product with a transposed weight",
    ),
    independent(
        "fused_matmul_per_row",
        "float[N,4,T] a, float[N,4,U] b => float[N,T,U] y",
        "y = com.microsoft.FusedMatMul<transA=1>(a, b)",
        "both sides have rows, one is transposed",
    ),
    independent(
        "fused_matmul_moves_batch",
        "float[N,2,4] x => float[2,N,3] y",
        "y = com.microsoft.FusedMatMul<transBatchA=1>(x, w[2,4,3])",
        "the batch moves to axis 1 inside the product",
        axes={"y": 1},
    ),
    independent(
        "mixture_of_experts",
        "float[N,4] x, float[N,2] route => float[N,4] y",
        'y = com.microsoft.MoE<k=1, activation_type="relu">(x, route, w[2,4,8], w[2,8], w[2,8,4], w[2,4])',
        "each row goes to its own expert",
    ),
    independent(
        "gelu_family",
        _XTC,
        "a = com.microsoft.Gelu(x) b = com.microsoft.QuickGelu<alpha=1.7>(a) "
        "c = com.microsoft.FastGelu(b, w[4]) y = com.microsoft.BiasGelu(c, w[4])",
        "four ways to write it",
    ),
    independent(
        "skip_layer_norm",
        "float[N,T,4] x, float[N,T,4] skip => float[N,T,4] y",
        "y = com.microsoft.SkipLayerNormalization<epsilon=0.01>(x, skip, p[4], w[4], w[4])",
        "a residual and a normalisation",
    ),
    independent(
        "simplified_norms",
        _XTC,
        "a = SimplifiedLayerNormalization<axis=-1>(x, p[4]) "
        "y = com.microsoft.SkipSimplifiedLayerNormalization(a, x, p[4])",
        "by the root of the mean square",
    ),
    independent(
        "attention",
        _XTC,
        "y = com.microsoft.Attention<num_heads=2>(x, w[4,12], w[12])",
        "packed weights, no mask",
        draws={"x": _SMALL},
    ),
    independent(
        "attention_mask_2d",
        "float[N,T,4] x, int32[N,T] mask => float[N,T,4] y",
        "y = com.microsoft.Attention<num_heads=2>(x, w[4,12], w[12], mask)",
        "a mask for each row",
        draws={"x": _SMALL, "mask": between(0, 2)},
    ),
    independent(
        "attention_mask_lengths",
        "float[N,T,4] x, int32[N] mask => float[N,T,4] y",
        "y = com.microsoft.Attention<num_heads=2>(x, w[4,12], w[12], mask)",
        "a length for each row",
        draws={"x": _SMALL, "mask": between(1, 5)},
    ),
    independent(
        "attention_causal",
        _XTC,
        "y = com.microsoft.Attention<num_heads=1, unidirectional=1>(x, w[4,12], w[12])",
        "each step sees those before it",
        draws={"x": _SMALL},
    ),
    independent(
        "multi_head_attention",
        "float[N,T,4] q, float[N,S,4] k, float[N,S,4] v => float[N,T,4] y",
        "y = com.microsoft.MultiHeadAttention<num_heads=2>(q, k, v)",
        "queries, keys and values",
        draws={"q": _SMALL, "k": _SMALL},
    ),
    independent(
        "multi_head_attention_bias",
        "float[N,4,4] q => float[N,4,4] y",
        'y = com.microsoft.MultiHeadAttention<num_heads=2>(q, q, q, w[12], "", w[1,2,4,4])',
        "a bias for each pair of places, the same for all rows",
        draws={"q": _SMALL},
    ),
    independent(
        "group_query_attention",
        "float[N,1,16] q, float[N,1,8] k, float[N,1,8] v, float[N,1,6,8] pk, float[N,1,6,8] pv, "
        "int32[N] seen => float[N,1,16] y",
        "y, nk, nv = com.microsoft.GroupQueryAttention<num_heads=2, kv_num_heads=1>(q, k, v, pk, pv, seen, total)",
        "a length for each row and a shared total",
        constants={"total": np.array(6, np.int32)},
        draws={"seen": between(1, 6)},
    ),
    independent(
        "rotary_embedding_ids",
        "float[N,T,4] x, int64[N,T] ids => float[N,T,4] y",
        "y = com.microsoft.RotaryEmbedding(x, ids, w[10,2], w[10,2])",
        "each row has its own positions",
        draws=_IDS,
    ),
    independent(
        "rotary_embedding_offset",
        _XTC,
        "y = com.microsoft.RotaryEmbedding(x, [3], w[16,2], w[16,2])",
        "all rows start at the same position",
    ),
    independent(
        "embed_layer_norm",
        "int32[N,T] ids, int32[N,T] kinds, int32[N,T] mask => float[N,T,4] y, int32[N] m",
        "y, m = com.microsoft.EmbedLayerNormalization<epsilon=0.01>(ids, kinds, w[10,4], w[16,4], w[2,4], "
        "p[4], w[4], mask)",
        "three tables, and the length of each row from its mask",
        draws=_IDS,
    ),
    independent(
        "matmul_integer_to_float",
        "uint8[N,4] x => float[N,3] y",
        "y = com.microsoft.MatMulIntegerToFloat(x, u8[4,3], 0.05, p[3], z)",
        "constant scales",
        constants={"z": np.array(10, np.uint8)},
    ),
    independent(
        "matmul_4_bits",
        "float[N,32] x => float[N,2] y",
        "y = com.microsoft.MatMulNBits<K=32, N=2, bits=4, block_size=32>(x, u8[2,1,16], p[2])",
        "a weight of four bits",
    ),
    independent(
        "qlinear_add_and_sigmoid",
        "uint8[N,4] x => uint8[N,4] y",
        "a = com.microsoft.QLinearAdd(x, 0.1, z, k, 0.1, z, 0.2, z) "
        "b = com.microsoft.QLinearSigmoid(a, 0.2, z, 0.01, z) "
        "y = com.microsoft.QLinearMul(b, 0.01, z, x, 0.1, z, 0.1, z)",
        "quantised elements",
        constants={"z": np.array(10, np.uint8), "k": np.array([1, 90, 200, 7], np.uint8)},
    ),
    independent(
        "qlinear_pool",
        "uint8[N,2,4,4] x => uint8[N,2,1,1] y",
        "y = com.microsoft.QLinearGlobalAveragePool(x, 0.1, z, 0.1, z)",
        "a quantised pool",
        constants={"z": np.array(10, np.uint8)},
    ),
    independent(
        "qgemm",
        "uint8[N,4] x => float[N,3] y",
        "y = com.microsoft.QGemm<transB=0>(x, 0.05, z, u8[4,3], 0.02, z)",
        "a quantised layer",
        constants={"z": np.array(10, np.uint8)},
    ),
    independent(
        "fused_conv",
        "float[N,1,5,5] x => float[N,2,3,3] y",
        'y = com.microsoft.FusedConv<activation="Relu">(x, w[2,1,3,3], w[2])',
        "a convolution with its activation",
    ),
    independent(
        "fused_gemm",
        "float[N,4] x => float[N,3] y",
        'y = com.microsoft.FusedGemm<activation="Relu">(x, w[4,3], w[3])',
        "a layer with its activation",
    ),
    independent(
        "max_pool_with_shared_mask",
        "float[N,2,4,4] x => float[N,2,3,3] y",
        "y = com.microsoft.MaxpoolWithMask<kernel_shape=[2,2]>(x, mask)",
        "one mask for all",
        constants={"mask": np.tile(np.array([1, 0, 1, 1], np.int32), 4).reshape(1, 1, 4, 4)},
    ),
    independent(
        "distance_to_prototypes",
        "float[N,4] x => float[N,3] y",
        'y = com.microsoft.CDist<metric="sqeuclidean">(x, w[3,4])',
        "distances to stored points",
    ),
    independent(
        "inverse",
        "float[N,3,3] x => float[N,3,3] y",
        "y = com.microsoft.Inverse(x)",
        "a matrix for each row",
        draws={"x": lambda rng, shape: rng.uniform(-0.2, 0.2, shape) + np.eye(3)},
    ),
    independent(
        "hash", "int32[N,2] x => int32[N,2] y", "y = com.microsoft.MurmurHash3<positive=0>(x)", "a hash of each number"
    ),
    independent(
        "ngram_repeat_block",
        "int64[N,6] ids, float[N,4] scores => float[N,4] y",
        "y = com.microsoft.NGramRepeatBlock<ngram_size=2>(ids, scores)",
        "what a row has said before is forbidden",
        draws={"ids": between(0, 4)},
    ),
    independent(
        "nhwc_pool",
        "uint8[N,4,4,2] x => uint8[N,3,3,2] y",
        "y = com.microsoft.NhwcMaxPool<kernel_shape=[2,2]>(x)",
        "channels last",
    ),
    independent(
        "lower_triangle",
        "float[N,2,4,4] x => float[N,2,4,4] y",
        "t = com.microsoft.Trilu<upper=0>(x) y = Neg(t)",
        "the last two axes",
    ),
    independent(
        "unfold_windows",
        "float[N,6] x => float[N,2,3] y",
        "y = com.microsoft.UnfoldTensor<dim=1, size=3, step=3>(x)",
        "windows of a row",
    ),
    independent(
        "dequantised_weight",
        "float[N,T,4] x => float[N,T,4] y",
        "d = com.microsoft.DequantizeLinear(k, 0.02, z) f = MatMul(x, d) y = Add(x, f)",
        "a weight in bytes",
        constants={"z": np.array(100, np.uint8), "k": np.arange(0, 160, 10).reshape(4, 4).astype(np.uint8)},
    ),
]
