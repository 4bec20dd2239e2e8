"""Rows stay apart through reshapes, transposes, cuts and joins."""

from tests.support.rows.case import read_cases

_N = "s = Shape(x) n = Slice(s, [0], [1]) "
"""n: the number of rows, with one axis."""

_TABLE = """
flatten_2_and_back: the batch and time are folded and unfolded
    float[N,T,4] x => float[N,T,4] y | f = Flatten<axis=2>(x) l = MatMul(f, w[4,4]) s = Shape(x) y = Reshape(l, s)
reshape_minus_one_first: the batch is what is left
    float[N,2,3] x => float[N,6] y | y = Reshape(x, [-1,6])
reshape_zero_copies: lengths are copied
    float[N,6,T] x => float[N,2,3,T] y | a = Reshape(x, [0,2,3,-1]) y = Relu(a)
reshape_by_shape_parts: the shape is put together from parts
    float[N,T,6] x => float[N,T,2,3] y
    s = Shape(x) b = Slice(s, [0], [2]) t = Concat<axis=0>(b, [2,3]) y = Reshape(x, t)
reshape_by_gathered_lengths: as tracing exports a view
    float[N,T,6] x => float[N,T,2,3] y
    s = Shape(x) b = Gather(s, 0) t = Gather(s, 1) p = Unsqueeze(b, [0]) q = Unsqueeze(t, [0])
    z = Concat<axis=0>(p, q, [2], [3]) y = Reshape(x, z)
reshape_batch_in_the_middle (axes x=1 y=1): the batch is axis 1 and stays there
    float[2,N,3] x => float[2,N,3,1] y | s = Shape(x) t = Concat<axis=0>(s, [1]) y = Reshape(x, t)
heads_split_and_joined: heads as an axis
    float[batch,T,4] x => float[batch,T,4] y
    s = Shape(x) a = Reshape(x, [0,0,2,2]) b = Transpose<perm=[0,2,1,3]>(a) c = Softmax(b)
    d = Transpose<perm=[0,2,1,3]>(c) y = Reshape(d, s)
heads_folded_into_batch: heads are folded into the batch: B*H
    float[batch,T,4] x => float[batch,T,4] y
    s = Shape(x) t = Slice(s, [1], [2]) a = Reshape(x, [0,0,2,2]) b = Transpose<perm=[0,2,1,3]>(a)
    k = Concat<axis=0>([-1], t, [2]) f = Reshape(b, k) m = Softmax<axis=1>(f) v = Concat<axis=0>([-1,2], t, [2])
    c = Reshape(m, v) d = Transpose<perm=[0,2,1,3]>(c) y = Reshape(d, s)
heads_folded_time_major (axes x=1 y=1): torch's multi-head attention: [T, B*H, D]
    float[T,batch,4] x => float[T,batch,4] y
    s = Shape(x) t = Slice(s, [0], [1]) k = Concat<axis=0>(t, [-1,2]) a = Reshape(x, k) b = Transpose<perm=[1,0,2]>(a)
    p = Transpose<perm=[0,2,1]>(b) m = MatMul(b, p) e = Softmax(m) c = MatMul(e, b) d = Transpose<perm=[1,0,2]>(c)
    y = Reshape(d, s)
windows_and_back: windows are folded into the batch
    float[N,4,6,6] x => float[N,4,6,6] y
    a = Reshape(x, [-1,4,2,3,2,3]) b = Transpose<perm=[0,2,4,1,3,5]>(a) v = Reshape(b, [-1,4,3,3]) g = Mul(v, w[4,3,3])
    q = Softmax(g) c = Reshape(q, [-1,2,2,4,3,3]) d = Transpose<perm=[0,3,1,4,2,5]>(c) y = Reshape(d, [-1,4,6,6])
windows_shifted_with_mask: shifted windows: a mask for each window of a row
    float[N,4,4,3] x => float[N,4,4,3] y
    p = Slice(x, [1], [99], [1]) q = Slice(x, [0], [1], [1]) r = Concat<axis=1>(p, q) a = Reshape(r, [-1,2,2,2,2,3])
    b = Transpose<perm=[0,1,3,2,4,5]>(a) v = Reshape(b, [-1,4,3]) t = Transpose<perm=[0,2,1]>(v) m = MatMul(v, t)
    i = Reshape(m, [-1,4,4,4]) j = Add(i, w[1,4,4,4]) k = Reshape(j, [-1,4,4]) e = Softmax(k) o = MatMul(e, v)
    c = Reshape(o, [-1,2,2,2,2,3]) d = Transpose<perm=[0,1,3,2,4,5]>(c) y = Reshape(d, [-1,4,4,3])
pixel_shuffle_by_reshape: channels become pixels
    float[N,4,3,3] x => float[N,1,6,6] y
    a = Reshape(x, [-1,1,2,2,3,3]) b = Transpose<perm=[0,1,4,2,5,3]>(a) y = Reshape(b, [-1,1,6,6])
channel_shuffle: channels of groups are mixed
    float[N,6,H,W] x => float[N,6,H,W] y
    s = Shape(x) h = Slice(s, [2], [4]) n = Slice(s, [0], [1]) k = Concat<axis=0>(n, [2,3], h) a = Reshape(x, k)
    b = Transpose<perm=[0,2,1,3,4]>(a) y = Reshape(b, s)
depth_to_space_crd_folded: rows are channels, and blocks are the fastest of them
    float[N,4,2,2] x => float[N,1,4,4] y
    f = Reshape(x, [1,-1,2,2]) d = DepthToSpace<blocksize=2, mode="CRD">(f) y = Transpose<perm=[1,0,2,3]>(d)
instance_norm_folded: channels are folded into the batch
    float[N,2,9] x => float[N,2,9] y
    f = Reshape(x, [-1,1,9]) n = InstanceNormalization(f, ones[1], zeros[1]) y = Reshape(n, [-1,2,9])
frames_of_a_clip: eight frames of each row are folded into the batch
    float[N,8,3] x => float[N,3] y
    f = Reshape(x, [-1,3]) h = MatMul(f, w[3,3]) r = Relu(h) b = Reshape(r, [-1,8,3])
    y = ReduceMean<axes=[1], keepdims=0>(b)
squeeze_11 (opset 11): negative axes, an attribute
    float[N,4,1,1] x => float[N,4] y | y = Squeeze<axes=[-1,-2]>(x)
unsqueeze_before_batch (axes y=1): the batch becomes axis 1
    float[N,4] x => float[1,N,4] y | y = Unsqueeze(x, [0])
unsqueeze_both_sides (opset 13): two axes at once
    float[N,4] x => float[N,1,4,1] y | y = Unsqueeze(x, [-1,1])
transpose_out (axes y=1): the batch leaves on axis 1
    float[N,T,4] x => float[T,N,4] y | y = Transpose<perm=[1,0,2]>(x)
slice_columns: every second column
    float[N,T,6] x => float[N,T,3] y | y = Slice(x, [1], [99], [-1], [2])
slice_reversed_time: time is reversed
    float[batch,T,4] x => float[batch,T,4] y | y = Slice(x, [-1], [-9999], [1], [-1])
slice_7 (opset 7): starts and ends are attributes
    float[N,4,4] x => float[N,4,2] y | y = Slice<axes=[2], starts=[0], ends=[2]>(x)
slice_all_rows: a cut of all rows, as x[:, 1:]
    a = Slice(x, [0,1], [9223372036854775807,9], [0,1]) p = Slice(x, [0], [1], [1]) y = Concat<axis=1>(a, p)
slice_rows_at_n: all rows, up to the number of rows
    $N a = Slice(x, [0], n, [0]) y = Relu(a)
split_features (opset 13): a gated linear unit
    float[N,6] x => float[N,3] y | a, b = Split<axis=-1>(x) g = Sigmoid(b) y = Mul(a, g)
split_18 (opset 18): a number of outputs
    float[N,9] x => float[N,3] y | a, b, c = Split<axis=1, num_outputs=3>(x) d = Mul(a, b) y = Add(d, c)
concat_features: features side by side
    float[N,4] a, float[N,T] b => float[N,M] y | c = Sin(a) y = Concat<axis=-1>(a, b, c)
concat_constant_expanded: a class token for each row
    float[N,T,4] x => float[N,M,4] y | $N t = Concat<axis=0>(n, [1,4]) k = Expand(w[1,1,4], t) y = Concat<axis=1>(k, x)
concat_token_tiled: a class token for each row, by Tile
    float[N,T,4] x => float[N,M,4] y
    $N t = Concat<axis=0>(n, [1,1]) k = Tile(w[1,1,4], t) c = Concat<axis=1>(k, x) y = Add(c, 0.5)
expand_minus_one: torch's expand(B, -1, -1)
    float[N,T,4] x => float[N,M,4] y
    $N t = Concat<axis=0>(n, [-1,-1]) e = Equal(t, [-1,-1,-1]) u = Where(e, [1,1,1], t) k = Expand(w[1,2,4], u)
    y = Concat<axis=1>(k, x)
expand_minus_one_constant_of_shape: expand as torch's tracing writes it
    float[N,T,4] x => float[N,M,4] y
    $N t = Concat<axis=0>(n, [1,4]) r = Shape(t) o = ConstantOfShape<value = int64[1] {1}>(r) m = Mul(o, -1)
    e = Equal(t, m) u = Where(e, o, t) k = Expand(w[1,1,4], u) y = Concat<axis=1>(k, x)
constant_of_shape_rows: a filled tensor of the shape of the rows
    s = Shape(x) z = ConstantOfShape<value = float[1] {0.5}>(s) y = Max(x, z)
expand_to_other: a column is given the shape of another input
    float[N,1] x, float[N,T] z => float[N,T] y | s = Shape(z) e = Expand(x, s) y = Mul(e, z)
expand_new_axis_first (axes y=1): three copies of the batch
    float[N,4] x => float[3,N,4] y | $N t = Concat<axis=0>([3], n, [4]) e = Expand(x, t) y = Mul(e, w[3,1,4])
tile_features: each row's features twice
    float[N,4] x => float[N,8] y | t = Tile(x, [1,2]) y = Mul(t, w[8])
repeat_interleave_and_back: two hypotheses for each row, folded into the batch
    float[N,4] x => float[N,2,4] y
    u = Unsqueeze(x, [1]) e = Tile(u, [1,2,1]) f = Reshape(e, [-1,4]) h = MatMul(f, w[4,4]) y = Reshape(h, [-1,2,4])
guidance_split (opset 13): with and without a condition in one doubled batch
    n = Mul(x, 0.5) c = Concat<axis=0>(x, n) h = MatMul(c, w[4,4]) a, b = Split<axis=0>(h) d = Sub(a, b) m = Mul(d, 7.5)
    y = Add(b, m)
guidance_sliced: both halves of a doubled batch, cut at the number of rows
    $N z = Mul(x, 0.0) c = Concat<axis=0>(x, z) h = Gemm(c, w[4,4], w[4]) r = Tanh(h) d = Add(n, n)
    a = Slice(r, [0], n, [0]) b = Slice(r, n, d, [0]) y = Sub(a, b)
guidance_by_view: a doubled batch is viewed as [2, B]
    $N z = Neg(x) c = Concat<axis=0>(x, z) h = MatMul(c, w[4,4]) t = Concat<axis=0>([2], n, [4]) v = Reshape(h, t)
    y = ReduceMax<axes=[0], keepdims=0>(v)
guidance_tiled: a tiled batch, of which the second half is taken
    $N c = Tile(x, [2,1]) h = MatMul(c, w[4,4]) a = Slice(h, n, [9223372036854775807], [0]) y = Relu(a)
pad_time: reflected at the ends of time
    float[N,3,T] x => float[N,3,M] y | y = Pad<mode="reflect">(x, [0,0,2,0,0,2])
pad_to_multiple_of_4: time is padded to a multiple of four
    float[N,T,4] x => float[N,M,4] y
    s = Shape(x) t = Slice(s, [1], [2]) a = Add(t, [3]) b = Div(a, [4]) c = Mul(b, [4]) d = Sub(c, t)
    k = Concat<axis=0>([0,0,0,0], d, [0]) y = Pad(x, k)
center_crop (opset 18): the middle of a picture
    float[N,1,6,6] x => float[N,1,4,4] y | y = CenterCropPad<axes=[2,3]>(x, [4,4])
space_to_depth: pixels become channels
    float[N,2,4,4] x => float[N,8,2,2] y | y = SpaceToDepth<blocksize=2>(x)
depth_to_space_dcr: channels become pixels
    float[N,8,2,2] x => float[N,2,4,4] y | y = DepthToSpace<blocksize=2>(x)
col2im (opset 18): patches are added up
    float[N,4,6] x => float[N,1,3,4] y | y = Col2Im(x, [3,4], [2,2])
reverse_sequence (axes x=1 y=1; draws n=1..5): each row is reversed up to its own length
    float[T,batch,2] x, int64[batch] n => float[T,batch,2] y | y = ReverseSequence(x, n)
reverse_sequence_batch_first (draws n=1..5): each row is reversed up to its own length
    float[batch,T,2] x, int64[batch] n => float[batch,T,2] y | y = ReverseSequence<batch_axis=0, time_axis=1>(x, n)
sequence_of_columns: columns in a sequence
    float[N,6] x => float[N,2] y
    q = SplitToSequence<axis=1>(x, 2) a = SequenceAt(q, 0) b = SequenceAt(q, 2) y = Sub(a, b)
image_to_tokens_and_back: pixels are tokens for a while
    float[N,4,H,W] x => float[N,4,H,W] y
    s = Shape(x) f = Reshape(x, [0,0,-1]) t = Transpose<perm=[0,2,1]>(f) n = LayerNormalization(t, p[4], w[4])
    b = Transpose<perm=[0,2,1]>(n) y = Reshape(b, s)
patches: patches of a picture
    float[N,3,4,4] x => float[N,4,12] y
    a = Reshape(x, [-1,3,2,2,2,2]) b = Transpose<perm=[0,2,4,3,5,1]>(a) y = Reshape(b, [-1,4,12])
batch_last (axes x=2 y=1): the batch is the last axis
    float[4,3,batch] x => float[4,batch] y | a = ReduceSum<keepdims=0>(x, [1]) y = Softmax<axis=0>(a)
"""

CASES = read_cases("independent", _TABLE, shorthands={"N": _N})
