"""Rows stay apart through reshapes, transposes, cuts and joins."""

from tests.support.rows.case import Case, between, independent

_X = "float[N,4] x => float[N,4] y"
_XTC = "float[batch,T,4] x => float[batch,T,4] y"
_IMAGE = "float[N,4,6,6] x => float[N,4,6,6] y"
_N = "s = Shape(x) n = Slice(s, [0], [1]) "
"""n: the number of rows, with one axis."""

CASES: list[Case] = [
    independent("flatten", "float[N,2,3] x => float[N,6] y", "y = Flatten(x)", "the default axis keeps the batch"),
    independent(
        "flatten_2_and_back",
        "float[N,T,4] x => float[N,T,4] y",
        "f = Flatten<axis=2>(x) l = MatMul(f, w[4,4]) s = Shape(x) y = Reshape(l, s)",
        "the batch and time are folded and unfolded",
    ),
    independent(
        "reshape_minus_one_first",
        "float[N,2,3] x => float[N,6] y",
        "y = Reshape(x, [-1,6])",
        "the batch is what is left",
    ),
    independent(
        "reshape_zero_copies",
        "float[N,6,T] x => float[N,2,3,T] y",
        "a = Reshape(x, [0,2,3,-1]) y = Relu(a)",
        "lengths are copied",
    ),
    independent(
        "reshape_by_shape_parts",
        "float[N,T,6] x => float[N,T,2,3] y",
        "s = Shape(x) b = Slice(s, [0], [2]) t = Concat<axis=0>(b, [2,3]) y = Reshape(x, t)",
        "the shape is put together from parts",
    ),
    independent(
        "reshape_by_gathered_lengths",
        "float[N,T,6] x => float[N,T,2,3] y",
        "s = Shape(x) b = Gather(s, 0) t = Gather(s, 1) p = Unsqueeze(b, [0]) q = Unsqueeze(t, [0]) "
        "z = Concat<axis=0>(p, q, [2], [3]) y = Reshape(x, z)",
        "as tracing exports a view",
    ),
    independent(
        "reshape_batch_in_the_middle",
        "float[2,N,3] x => float[2,N,3,1] y",
        "s = Shape(x) t = Concat<axis=0>(s, [1]) y = Reshape(x, t)",
        "the batch is axis 1 and stays there",
        axes={"x": 1, "y": 1},
    ),
    independent(
        "heads_split_and_joined",
        _XTC,
        "s = Shape(x) a = Reshape(x, [0,0,2,2]) b = Transpose<perm=[0,2,1,3]>(a) c = Softmax(b) "
        "d = Transpose<perm=[0,2,1,3]>(c) y = Reshape(d, s)",
        "heads as an axis",
    ),
    independent(
        "heads_folded_into_batch",
        _XTC,
        "s = Shape(x) t = Slice(s, [1], [2]) a = Reshape(x, [0,0,2,2]) b = Transpose<perm=[0,2,1,3]>(a) "
        "k = Concat<axis=0>([-1], t, [2]) f = Reshape(b, k) m = Softmax<axis=1>(f) "
        "v = Concat<axis=0>([-1,2], t, [2]) c = Reshape(m, v) d = Transpose<perm=[0,2,1,3]>(c) "
        "y = Reshape(d, s)",
        "heads are folded into the batch: B*H",
    ),
    independent(
        "heads_folded_time_major",
        "float[T,batch,4] x => float[T,batch,4] y",
        "s = Shape(x) t = Slice(s, [0], [1]) k = Concat<axis=0>(t, [-1,2]) a = Reshape(x, k) "
        "b = Transpose<perm=[1,0,2]>(a) p = Transpose<perm=[0,2,1]>(b) m = MatMul(b, p) e = Softmax(m) "
        "c = MatMul(e, b) d = Transpose<perm=[1,0,2]>(c) y = Reshape(d, s)",
        "torch's multi-head attention: [T, B*H, D]",
        axes={"x": 1, "y": 1},
    ),
    independent(
        "windows_and_back",
        _IMAGE,
        "a = Reshape(x, [-1,4,2,3,2,3]) b = Transpose<perm=[0,2,4,1,3,5]>(a) v = Reshape(b, [-1,4,3,3]) "
        "g = Mul(v, w[4,3,3]) q = Softmax(g) c = Reshape(q, [-1,2,2,4,3,3]) "
        "d = Transpose<perm=[0,3,1,4,2,5]>(c) y = Reshape(d, [-1,4,6,6])",
        "windows are folded into the batch",
    ),
    independent(
        "windows_shifted_with_mask",
        "float[N,4,4,3] x => float[N,4,4,3] y",
        "p = Slice(x, [1], [99], [1]) q = Slice(x, [0], [1], [1]) r = Concat<axis=1>(p, q) "
        "a = Reshape(r, [-1,2,2,2,2,3]) b = Transpose<perm=[0,1,3,2,4,5]>(a) v = Reshape(b, [-1,4,3]) "
        "t = Transpose<perm=[0,2,1]>(v) m = MatMul(v, t) i = Reshape(m, [-1,4,4,4]) j = Add(i, w[1,4,4,4]) "
        "k = Reshape(j, [-1,4,4]) e = Softmax(k) o = MatMul(e, v) c = Reshape(o, [-1,2,2,2,2,3]) "
        "d = Transpose<perm=[0,1,3,2,4,5]>(c) y = Reshape(d, [-1,4,4,3])",
        "shifted windows: a mask for each window of a row",
    ),
    independent(
        "pixel_shuffle_by_reshape",
        "float[N,4,3,3] x => float[N,1,6,6] y",
        "a = Reshape(x, [-1,1,2,2,3,3]) b = Transpose<perm=[0,1,4,2,5,3]>(a) y = Reshape(b, [-1,1,6,6])",
        "channels become pixels",
    ),
    independent(
        "channel_shuffle",
        "float[N,6,H,W] x => float[N,6,H,W] y",
        "s = Shape(x) h = Slice(s, [2], [4]) n = Slice(s, [0], [1]) k = Concat<axis=0>(n, [2,3], h) "
        "a = Reshape(x, k) b = Transpose<perm=[0,2,1,3,4]>(a) y = Reshape(b, s)",
        "channels of groups are mixed",
    ),
    independent(
        "depth_to_space_crd_folded",
        "float[N,4,2,2] x => float[N,1,4,4] y",
        'f = Reshape(x, [1,-1,2,2]) d = DepthToSpace<blocksize=2, mode="CRD">(f) y = Transpose<perm=[1,0,2,3]>(d)',
        "rows are channels, and blocks are the fastest of them",
    ),
    independent(
        "instance_norm_folded",
        "float[N,2,9] x => float[N,2,9] y",
        "f = Reshape(x, [-1,1,9]) n = InstanceNormalization(f, ones[1], zeros[1]) y = Reshape(n, [-1,2,9])",
        "channels are folded into the batch",
    ),
    independent(
        "frames_of_a_clip",
        "float[N,8,3] x => float[N,3] y",
        "f = Reshape(x, [-1,3]) h = MatMul(f, w[3,3]) r = Relu(h) b = Reshape(r, [-1,8,3]) "
        "y = ReduceMean<axes=[1], keepdims=0>(b)",
        "eight frames of each row are folded into the batch",
    ),
    independent("squeeze_axes", "float[N,1,4] x => float[N,4] y", "y = Squeeze(x, [1])", "one axis, an input"),
    independent(
        "squeeze_11",
        "float[N,4,1,1] x => float[N,4] y",
        "y = Squeeze<axes=[-1,-2]>(x)",
        "negative axes, an attribute",
        opset=11,
    ),
    independent(
        "unsqueeze_before_batch",
        "float[N,4] x => float[1,N,4] y",
        "y = Unsqueeze(x, [0])",
        "the batch becomes axis 1",
        axes={"y": 1},
    ),
    independent(
        "unsqueeze_both_sides",
        "float[N,4] x => float[N,1,4,1] y",
        "y = Unsqueeze(x, [-1,1])",
        "two axes at once",
        opset=13,
    ),
    independent(
        "transpose_out",
        "float[N,T,4] x => float[T,N,4] y",
        "y = Transpose<perm=[1,0,2]>(x)",
        "the batch leaves on axis 1",
        axes={"y": 1},
    ),
    independent(
        "slice_columns", "float[N,T,6] x => float[N,T,3] y", "y = Slice(x, [1], [99], [-1], [2])", "every second column"
    ),
    independent("slice_reversed_time", _XTC, "y = Slice(x, [-1], [-9999], [1], [-1])", "time is reversed"),
    independent(
        "slice_7",
        "float[N,4,4] x => float[N,4,2] y",
        "y = Slice<axes=[2], starts=[0], ends=[2]>(x)",
        "starts and ends are attributes",
        opset=7,
    ),
    independent(
        "slice_all_rows",
        _X,
        "a = Slice(x, [0,1], [9223372036854775807,9], [0,1]) p = Slice(x, [0], [1], [1]) y = Concat<axis=1>(a, p)",
        "a cut of all rows, as x[:, 1:]",
    ),
    independent(
        "slice_rows_at_n", _X, _N + "a = Slice(x, [0], n, [0]) y = Relu(a)", "all rows, up to the number of rows"
    ),
    independent(
        "split_features",
        "float[N,6] x => float[N,3] y",
        "a, b = Split<axis=-1>(x) g = Sigmoid(b) y = Mul(a, g)",
        "a gated linear unit",
        opset=13,
    ),
    independent(
        "split_sizes",
        "float[N,T,6] x => float[N,T,1] y, float[N,T,5] z",
        "y, z = Split<axis=2>(x, [1,5])",
        "two outputs",
    ),
    independent(
        "split_18",
        "float[N,9] x => float[N,3] y",
        "a, b, c = Split<axis=1, num_outputs=3>(x) d = Mul(a, b) y = Add(d, c)",
        "a number of outputs",
        opset=18,
    ),
    independent(
        "concat_features",
        "float[N,4] a, float[N,T] b => float[N,M] y",
        "c = Sin(a) y = Concat<axis=-1>(a, b, c)",
        "features side by side",
    ),
    independent(
        "concat_constant_expanded",
        "float[N,T,4] x => float[N,M,4] y",
        _N + "t = Concat<axis=0>(n, [1,4]) k = Expand(w[1,1,4], t) y = Concat<axis=1>(k, x)",
        "a class token for each row",
    ),
    independent(
        "concat_token_tiled",
        "float[N,T,4] x => float[N,M,4] y",
        _N + "t = Concat<axis=0>(n, [1,1]) k = Tile(w[1,1,4], t) c = Concat<axis=1>(k, x) y = Add(c, 0.5)",
        "a class token for each row, by Tile",
    ),
    independent(
        "expand_minus_one",
        "float[N,T,4] x => float[N,M,4] y",
        _N + "t = Concat<axis=0>(n, [-1,-1]) e = Equal(t, [-1,-1,-1]) u = Where(e, [1,1,1], t) "
        "k = Expand(w[1,2,4], u) y = Concat<axis=1>(k, x)",
        "torch's expand(B, -1, -1)",
    ),
    independent(
        "expand_minus_one_constant_of_shape",
        "float[N,T,4] x => float[N,M,4] y",
        _N + "t = Concat<axis=0>(n, [1,4]) r = Shape(t) o = ConstantOfShape<value = int64[1] {1}>(r) "
        "m = Mul(o, -1) e = Equal(t, m) u = Where(e, o, t) k = Expand(w[1,1,4], u) y = Concat<axis=1>(k, x)",
        "expand as torch's tracing writes it",
    ),
    independent(
        "constant_of_shape_rows",
        _X,
        "s = Shape(x) z = ConstantOfShape<value = float[1] {0.5}>(s) y = Max(x, z)",
        "a filled tensor of the shape of the rows",
    ),
    independent(
        "expand_to_other",
        "float[N,1] x, float[N,T] z => float[N,T] y",
        "s = Shape(z) e = Expand(x, s) y = Mul(e, z)",
        "a column is given the shape of another input",
    ),
    independent(
        "expand_new_axis_first",
        "float[N,4] x => float[3,N,4] y",
        _N + "t = Concat<axis=0>([3], n, [4]) e = Expand(x, t) y = Mul(e, w[3,1,4])",
        "three copies of the batch",
        axes={"y": 1},
    ),
    independent(
        "tile_features",
        "float[N,4] x => float[N,8] y",
        "t = Tile(x, [1,2]) y = Mul(t, w[8])",
        "each row's features twice",
    ),
    independent(
        "repeat_interleave_and_back",
        "float[N,4] x => float[N,2,4] y",
        "u = Unsqueeze(x, [1]) e = Tile(u, [1,2,1]) f = Reshape(e, [-1,4]) h = MatMul(f, w[4,4]) "
        "y = Reshape(h, [-1,2,4])",
        "two hypotheses for each row, folded into the batch",
    ),
    independent(
        "guidance_split",
        _X,
        "n = Mul(x, 0.5) c = Concat<axis=0>(x, n) h = MatMul(c, w[4,4]) a, b = Split<axis=0>(h) "
        "d = Sub(a, b) m = Mul(d, 7.5) y = Add(b, m)",
        "with and without a condition in one doubled batch",
        opset=13,
    ),
    independent(
        "guidance_sliced",
        _X,
        _N + "z = Mul(x, 0.0) c = Concat<axis=0>(x, z) h = Gemm(c, w[4,4], w[4]) r = Tanh(h) d = Add(n, n) "
        "a = Slice(r, [0], n, [0]) b = Slice(r, n, d, [0]) y = Sub(a, b)",
        "both halves of a doubled batch, cut at the number of rows",
    ),
    independent(
        "guidance_by_view",
        _X,
        _N + "z = Neg(x) c = Concat<axis=0>(x, z) h = MatMul(c, w[4,4]) t = Concat<axis=0>([2], n, [4]) "
        "v = Reshape(h, t) y = ReduceMax<axes=[0], keepdims=0>(v)",
        "a doubled batch is viewed as [2, B]",
    ),
    independent(
        "guidance_tiled",
        "float[N,4] x => float[N,4] y",
        _N + "c = Tile(x, [2,1]) h = MatMul(c, w[4,4]) a = Slice(h, n, [9223372036854775807], [0]) y = Relu(a)",
        "a tiled batch, of which the second half is taken",
    ),
    independent(
        "pad_time",
        "float[N,3,T] x => float[N,3,M] y",
        'y = Pad<mode="reflect">(x, [0,0,2,0,0,2])',
        "reflected at the ends of time",
    ),
    independent(
        "pad_constant_11",
        "float[N,1,4,4] x => float[N,1,6,6] y",
        "y = Pad(x, [0,0,1,1,0,0,1,1], 9.0)",
        "a border",
        opset=11,
    ),
    independent(
        "pad_axes_18",
        "float[N,T,4] x => float[N,M,4] y",
        'y = Pad<mode="edge">(x, [1,1], "", [1])',
        "axes are an input",
        opset=18,
    ),
    independent(
        "pad_to_multiple_of_4",
        "float[N,T,4] x => float[N,M,4] y",
        "s = Shape(x) t = Slice(s, [1], [2]) a = Add(t, [3]) b = Div(a, [4]) c = Mul(b, [4]) d = Sub(c, t) "
        "k = Concat<axis=0>([0,0,0,0], d, [0]) y = Pad(x, k)",
        "time is padded to a multiple of four",
    ),
    independent(
        "center_crop",
        "float[N,1,6,6] x => float[N,1,4,4] y",
        "y = CenterCropPad<axes=[2,3]>(x, [4,4])",
        "the middle of a picture",
        opset=18,
    ),
    independent(
        "space_to_depth",
        "float[N,2,4,4] x => float[N,8,2,2] y",
        "y = SpaceToDepth<blocksize=2>(x)",
        "pixels become channels",
    ),
    independent(
        "depth_to_space_dcr",
        "float[N,8,2,2] x => float[N,2,4,4] y",
        "y = DepthToSpace<blocksize=2>(x)",
        "channels become pixels",
    ),
    independent(
        "col2im", "float[N,4,6] x => float[N,1,3,4] y", "y = Col2Im(x, [3,4], [2,2])", "patches are added up", opset=18
    ),
    independent(
        "reverse_sequence",
        "float[T,batch,2] x, int64[batch] n => float[T,batch,2] y",
        "y = ReverseSequence(x, n)",
        "each row is reversed up to its own length",
        axes={"x": 1, "y": 1},
        draws={"n": between(1, 5)},
    ),
    independent(
        "reverse_sequence_batch_first",
        "float[batch,T,2] x, int64[batch] n => float[batch,T,2] y",
        "y = ReverseSequence<batch_axis=0, time_axis=1>(x, n)",
        "each row is reversed up to its own length",
        draws={"n": between(1, 5)},
    ),
    independent(
        "sequence_of_columns",
        "float[N,6] x => float[N,2] y",
        "q = SplitToSequence<axis=1>(x, 2) a = SequenceAt(q, 0) b = SequenceAt(q, 2) y = Sub(a, b)",
        "columns in a sequence",
    ),
    independent(
        "image_to_tokens_and_back",
        "float[N,4,H,W] x => float[N,4,H,W] y",
        "s = Shape(x) f = Reshape(x, [0,0,-1]) t = Transpose<perm=[0,2,1]>(f) "
        "n = LayerNormalization(t, p[4], w[4]) b = Transpose<perm=[0,2,1]>(n) y = Reshape(b, s)",
        "pixels are tokens for a while",
    ),
    independent(
        "patches",
        "float[N,3,4,4] x => float[N,4,12] y",
        "a = Reshape(x, [-1,3,2,2,2,2]) b = Transpose<perm=[0,2,4,3,5,1]>(a) y = Reshape(b, [-1,4,12])",
        "patches of a picture",
    ),
    independent(
        "batch_last",
        "float[4,3,batch] x => float[4,batch] y",
        "a = ReduceSum<keepdims=0>(x, [1]) y = Softmax<axis=0>(a)",
        "the batch is the last axis",
        axes={"x": 2, "y": 1},
    ),
]
