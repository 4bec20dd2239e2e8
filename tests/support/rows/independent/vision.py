"""Rows stay apart in networks for pictures and in detection heads."""

import numpy as np

from tests.support.rows.case import read_cases

_TABLE = """
conv_net: a small classifier
    float[batch,3,8,8] x => float[batch,5] y
    a = Conv<pads=[1,1,1,1]>(x, w[4,3,3,3], w[4]) b = Relu(a) c = MaxPool<kernel_shape=[2,2], strides=[2,2]>(b)
    d = Flatten(c) y = Gemm(d, w[64,5], w[5])
residual_block (lengths H=5,8 W=6,9): free height and width
    float[batch,4,H,W] x => float[batch,4] y
    a = Conv<pads=[1,1,1,1]>(x, w[4,4,3,3]) b = BatchNormalization(a, p[4], w[4], w[4], p[4]) c = Relu(b) d = Add(c, x)
    e = GlobalAveragePool(d) y = Flatten(e)
depthwise_separable: a group for each channel
    float[N,4,6,6] x => float[N,8,3,3] y
    a = Conv<group=4, auto_pad="SAME_UPPER", strides=[2,2]>(x, w[4,1,3,3]) b = HardSwish(a)
    y = Conv(b, w[8,4,1,1], w[8])
squeeze_excite: channels are weighted by their means
    float[N,4,5,5] x => float[N,4,5,5] y
    a = GlobalAveragePool(x) b = Conv(a, w[2,4,1,1]) c = Relu(b) d = Conv(c, w[4,2,1,1]) e = HardSigmoid(d)
    y = Mul(x, e)
u_net: down, up, and a skip
    float[N,2,8,8] x => float[N,1,8,8] y
    a = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w[4,2,3,3]) b = Relu(a) c = ConvTranspose<strides=[2,2]>(b, w[4,2,2,2])
    d = Concat<axis=1>(c, x) y = Conv(d, w[1,4,1,1])
feature_pyramid: a coarse map is stretched by scales
    float[N,2,8,8] x => float[N,2,8,8] y
    a = AveragePool<kernel_shape=[2,2], strides=[2,2]>(x) b = Conv(a, w[2,2,1,1])
    c = Resize<mode="nearest">(b, "", [1.0,1.0,2.0,2.0]) y = Add(c, x)
resize_like: a coarse map is stretched to the picture's own size
    float[N,2,H,W] x => float[N,2,H,W] y
    a = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) s = Shape(x) h = Slice(s, [2], [4]) b = Shape(a)
    n = Slice(b, [0], [2]) t = Concat<axis=0>(n, h)
    y = Resize<coordinate_transformation_mode="align_corners", mode="linear">(a, "", "", t)
resize_axes_18 (opset 18): sizes of two axes
    float[N,2,4,4] x => float[N,2,7,7] y | y = Resize<axes=[2,3], mode="cubic", antialias=0>(x, "", "", [7,7])
conv_1d_causal: a convolution over the past
    float[N,2,T] x => float[N,4,T] y | p = Pad(x, [0,0,4,0,0,0]) y = Conv<dilations=[2]>(p, w[4,2,3], w[4])
conv_3d: a volume
    float[N,1,4,4,4] x => float[N,2,2,2,2] y | y = Conv<strides=[2,2,2], kernel_shape=[2,2,2]>(x, w[2,1,2,2,2])
pools: several pools
    float[N,2,6,6] x => float[N,2,3,3] y
    a = AveragePool<kernel_shape=[2,2], strides=[2,2], count_include_pad=1>(x)
    b = LpPool<kernel_shape=[2,2], strides=[2,2], p=2>(x) c = GlobalMaxPool(x) d = Add(a, b) y = Add(d, c)
deform_conv (opset 19; draws offset=-1.0..1.0): offsets for each row
    float[N,2,5,5] x, float[N,18,5,5] offset => float[N,3,5,5] y
    y = DeformConv<pads=[1,1,1,1], kernel_shape=[3,3]>(x, w[3,2,3,3], offset)
coordinate_channels: a channel that holds the row of the pixel
    float[N,2,H,W] x => float[N,3,H,W] y
    s = Shape(x) h = Gather(s, 2) r = Range(0, h, 1) f = Cast<to=1>(r) c = Reshape(f, [1,1,-1,1]) n = Slice(s, [0], [1])
    w0 = Slice(s, [2], [4]) t = Concat<axis=0>(n, [1], w0) e = Expand(c, t) y = Concat<axis=1>(x, e)
vision_transformer: patches, a class token, attention
    float[batch,3,4,4] x => float[batch,2] y
    a = Conv<strides=[2,2], kernel_shape=[2,2]>(x, w[4,3,2,2]) b = Reshape(a, [0,4,-1]) c = Transpose<perm=[0,2,1]>(b)
    s = Shape(x) n = Slice(s, [0], [1]) t = Concat<axis=0>(n, [1,1]) k = Tile(w[1,1,4], t) d = Concat<axis=1>(k, c)
    e = Add(d, w[1,5,4]) f = Transpose<perm=[0,2,1]>(e) g = MatMul(e, f) h = Softmax(g) i = MatMul(h, e)
    j = Gather<axis=1>(i, 0) y = MatMul(j, w[4,2])
yolo_head: boxes from a grid with anchors
    float[N,12,3,3] x => float[N,18,6] y
    a = Reshape(x, [-1,2,6,3,3]) b = Transpose<perm=[0,1,3,4,2]>(a) c = Sigmoid(b) d, e, f = Split<axis=4>(c, [2,2,2])
    g = Add(d, w[1,1,3,3,2]) h = Mul(g, 8.0) i = Pow(e, 2.0) j = Mul(i, p[1,2,1,1,2]) k = Concat<axis=4>(h, j, f)
    y = Reshape(k, [-1,18,6])
retina_decoding: boxes, scores and labels, with no suppression
    float[N,5,4] deltas, float[N,5,3] scores => float[N,5,4] boxes, float[N,5] best, int64[N,5] labels
    c, d = Split<axis=-1>(deltas, [2,2]) e = Mul(c, p[5,2]) f = Add(e, w[5,2]) k = Clip(d, "", 4.0) g = Exp(k)
    h = Mul(g, p[5,2]) i = Div(h, 2.0) l = Sub(f, i) m = Add(f, i) boxes = Concat<axis=-1>(l, m) t = Sigmoid(scores)
    best = ReduceMax<axes=[-1], keepdims=0>(t) labels = ArgMax<axis=-1, keepdims=0>(t)
top_boxes_per_row: the three best boxes of each row
    float[N,8,4] boxes, float[N,8] scores => float[N,3,4] y
    v, i = TopK(scores, [3]) u = Unsqueeze(i, [-1]) y = GatherND<batch_dims=1>(boxes, u)
heat_map_peaks: local maxima are kept
    float[N,1,6,6] x => float[N,1,6,6] y
    m = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(x) e = Equal(m, x) f = Cast<to=1>(e) y = Mul(x, f)
key_points_from_heat_map: the place of the maximum, divided by the width
    float[N,3,H,W] x => float[N,3] px, float[N,3] py
    s = Shape(x) w0 = Gather(s, 3) f = Reshape(x, [0,0,-1]) a = ArgMax<axis=2, keepdims=0>(f) b = Mod(a, w0)
    c = Div(a, w0) px = Cast<to=1>(b) py = Cast<to=1>(c)
upscaler (opset 11): twice as large
    float[N,1,H,W] x => float[N,1,M,K] y
    a = Conv<pads=[1,1,1,1]>(x, w[4,1,3,3]) b = PRelu(a, w[4,1,1]) y = DepthToSpace<blocksize=2>(b)
gram_of_channels: style: channels meet channels of the same picture
    float[N,3,H,W] x => float[N,3,3] y
    f = Reshape(x, [0,0,-1]) t = Transpose<perm=[0,2,1]>(f) g = MatMul(f, t) s = Shape(f) d = Gather(s, 2)
    c = Cast<to=1>(d) y = Div(g, c)
capsule_routing (draws x=-1.0..1.0): one step of routing
    float[N,4,3] x => float[N,2,3] y
    u = Einsum<equation="bid,ijde->bije">(x, w[4,2,3,3]) a = ReduceMean<axes=[1], keepdims=0>(u)
    b = Einsum<equation="bije,bje->bij">(u, a) c = Softmax<axis=2>(b) y = Einsum<equation="bij,bije->bje">(c, u)
uint8_picture: bytes, channels last
    uint8[batch,H,W,3] x => float[batch,3,H,W] y
    f = Cast<to=1>(x) d = Div(f, 255.0) m = Sub(d, p[3]) n = Div(m, p[3]) y = Transpose<perm=[0,3,1,2]>(n)
variational_encoder: noise is an input
    float[N,4] x, float[N,2] noise => float[N,2] y
    h = Gemm(x, w[4,4], w[4]) m, v = Split<axis=1>(h, [2,2]) k = Clip(v, -5.0, 5.0) e = Exp(k) n = Mul(e, noise)
    y = Add(m, n)
generator (draws label=0..3): a picture from noise and a class
    float[N,4] z, int64[N] label => float[N,1,4,4] y
    e = Gather(w[3,4], label) c = Concat<axis=1>(z, e) h = Gemm(c, w[8,8], w[8]) r = LeakyRelu<alpha=0.2>(h)
    i = Reshape(r, [-1,2,2,2]) o = ConvTranspose<strides=[2,2]>(i, w[2,1,2,2]) y = Tanh(o)
time_embedding (draws t=0..100): each row has its own step of diffusion
    float[N,2,4,4] x, int64[N] t => float[N,2,4,4] y
    f = Cast<to=1>(t) u = Unsqueeze(f, [1]) a = Mul(u, p[1,2]) s = Sin(a) c = Cos(a) e = Concat<axis=1>(s, c)
    h = MatMul(e, w[4,2]) v = Unsqueeze(h, [2,3]) y = Add(x, v)
qlinear_conv (constants z k k0): a quantised convolution
    uint8[N,1,4,4] x => uint8[N,2,4,4] y | y = QLinearConv<pads=[1,1,1,1]>(x, 0.05, z, k, 0.02, k0, 0.1, z)
qlinear_matmul (constants z): a quantised product
    uint8[N,4] x => uint8[N,3] y | y = QLinearMatMul(x, 0.05, z, u8[4,3], 0.02, z, 0.2, z)
matmul_integer (constants z): whole numbers with constant scales
    uint8[N,4] x => float[N,3] y | p0 = MatMulInteger(x, u8[4,3], z, z) f = Cast<to=1>(p0) y = Mul(f, 0.01)
conv_integer (constants z): a convolution of bytes
    uint8[N,1,4,4] x => int32[N,1,2,2] y | y = ConvInteger(x, u8[1,1,3,3], z, z)
dequantised_weight_per_channel (constants zero): a weight with a scale for each column
    float[N,4] x => float[N,3] y | d = DequantizeLinear<axis=1>(i8[4,3], p[3], zero) y = MatMul(x, d)
dequantised_in_blocks (opset 21): a weight with a scale for each block
    float[N,4] x => float[N,3] y | d = DequantizeLinear<axis=0, block_size=2>(i8[4,3], p[2,3]) y = MatMul(x, d)
quantise_per_channel (constants zero): a scale for each channel
    float[N,3,4] x => int8[N,3,4] y | y = QuantizeLinear<axis=1>(x, p[3], zero)
quantise_by_row: a scale for each row, by hand
    a = Abs(x) m = ReduceMax<axes=[1]>(a) s = Div(m, 127.0) q = Div(x, s) r = Round(q) y = Mul(r, s)
quantised_conv (constants z; draws x=-2.0..2.0; tolerance 5e-2): quantise and dequantise around a convolution
    float[N,1,4,4] x => float[N,2,4,4] y
    q = QuantizeLinear(x, 0.05, z) d = DequantizeLinear(q, 0.05, z) c = Conv<pads=[1,1,1,1]>(d, w[2,1,3,3])
    r = Relu(c) e = QuantizeLinear(r, 0.1, z) y = DequantizeLinear(e, 0.1, z)
"""

CASES = read_cases(
    "independent",
    _TABLE,
    constants={
        "z": np.array(10, np.uint8),
        "k": np.arange(-9, 9).reshape(2, 1, 3, 3).astype(np.int8),
        "k0": np.array(0, np.int8),
        "zero": np.zeros(3, np.int8),
    },
)
