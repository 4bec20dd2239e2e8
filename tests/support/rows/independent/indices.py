"""Rows stay apart in reading and writing by index, and where sizes are used in ways that do not tell rows apart."""

import numpy as np

from tests.support.rows.case import Case, between, independent

_X = "float[N,4] x => float[N,4] y"
_XT = "float[N,T] x => float[N,T] y"
_N = "s = Shape(x) n = Gather(s, 0) "
_PLACES = _N + "r = Range(0, n, 1) "
_UNITS = between(-1.0, 1.0)

CASES: list[Case] = [
    independent(
        "embedding",
        "int64[batch,T] ids => float[batch,T,4] y",
        "y = Gather(w[10,4], ids)",
        "a table of words",
        draws={"ids": between(0, 10)},
    ),
    independent(
        "embedding_int32_pooled",
        "int32[batch,T] ids => float[batch,4] y",
        "e = Gather(w[10,4], ids) y = ReduceMean<axes=[1], keepdims=0>(e)",
        "a table of words, and the mean",
        draws={"ids": between(-10, 10)},
    ),
    independent(
        "embedding_of_one_id",
        "int64[N] ids => float[N,4] y",
        "y = Gather(w[10,4], ids)",
        "a category",
        draws={"ids": between(0, 10)},
    ),
    independent(
        "embedding_axis_1",
        "int64[N] ids => float[4,N] y",
        "y = Gather<axis=1>(w[4,10], ids)",
        "a table whose columns are words",
        axes={"y": 1},
        draws={"ids": between(0, 10)},
    ),
    independent(
        "word_and_position",
        "int64[batch,T] ids => float[batch,T,4] y",
        "s = Shape(ids) t = Gather(s, 1) r = Range(0, t, 1) p = Gather(w[16,4], r) e = Gather(w[10,4], ids) "
        "a = Add(e, p) y = LayerNormalization(a, p[4], w[4])",
        "positions go along time",
        draws={"ids": between(0, 10)},
    ),
    independent(
        "position_expanded_over_rows",
        "int64[batch,T] ids => float[batch,T,4] y",
        "s = Shape(ids) t = Gather(s, 1) r = Range(0, t, 1) u = Unsqueeze(r, [0]) q = Expand(u, s) "
        "p = Gather(w[16,4], q) e = Gather(w[10,4], ids) y = Add(e, p)",
        "positions are repeated for each row",
        draws={"ids": between(0, 10)},
    ),
    independent(
        "position_from_mask",
        "int64[batch,T] mask => float[batch,T,4] y",
        "c = CumSum(mask, 1) m = Mul(c, mask) y = Gather(w[16,4], m)",
        "positions count what is not padding",
        draws={"mask": between(0, 2)},
    ),
    independent("first_token", "float[N,T,4] x => float[N,4] y", "y = Gather<axis=1>(x, 0)", "the class token"),
    independent("last_token", "float[N,T,4] x => float[N,4] y", "y = Gather<axis=-2>(x, -1)", "the last token"),
    independent(
        "columns_reordered",
        "float[N,4] x => float[N,4] y",
        "y = Gather<axis=-1>(x, [3,1,0,2])",
        "columns in another order",
    ),
    independent(
        "relative_position_bias",
        "float[N,2,4,4] x => float[N,2,4,4] y",
        "g = Gather(w[9,2], index) v = Reshape(g, [4,4,2]) t = Transpose<perm=[2,0,1]>(v) "
        "u = Unsqueeze(t, [0]) a = Add(x, u) y = Softmax(a)",
        "a bias from a table of distances",
        constants={"index": (np.arange(4)[:, None] - np.arange(4) + 4).ravel() % 9},
    ),
    independent(
        "last_valid_step",
        "float[N,T,4] x, int64[N] n => float[N,4] y",
        "m = Sub(n, 1) u = Unsqueeze(m, [1,2]) s = Shape(x) b = Slice(s, [0], [1]) "
        "t = Concat<axis=0>(b, [1,4]) i = Expand(u, t) g = GatherElements<axis=1>(x, i) y = Squeeze(g, [1])",
        "the step at the row's own length",
        draws={"n": between(1, 5)},
    ),
    independent(
        "gather_elements_per_row",
        "float[N,8] x, int64[N,3] i => float[N,3] y",
        "y = GatherElements<axis=1>(x, i)",
        "each row's own columns",
        draws={"i": between(-8, 8)},
    ),
    independent(
        "sort_by_score",
        "float[N,6,2] x, float[N,6] scores => float[N,6,2] y",
        "v, i = TopK(scores, [6]) u = Unsqueeze(i, [2]) e = Tile(u, [1,1,2]) y = GatherElements<axis=1>(x, e)",
        "each row's boxes by score",
    ),
    independent(
        "gather_nd_batch_dims",
        "float[N,6,2] x, int64[N,3,1] i => float[N,3,2] y",
        "y = GatherND<batch_dims=1>(x, i)",
        "each row's own places",
        draws={"i": between(0, 6)},
    ),
    independent(
        "gather_nd_from_table",
        "int64[N,3,2] i => float[N,3] y",
        "y = GatherND(w[5,6], i)",
        "a table with two indices",
        draws={"i": between(0, 5)},
    ),
    independent(
        "gather_nd_own_place",
        "float[N,T,4] x, int64[N] i => float[N,4] y",
        _PLACES + "u = Unsqueeze(r, [1]) v = Unsqueeze(i, [1]) j = Concat<axis=1>(u, v) y = GatherND(x, j)",
        "x[arange(B), i]: the step that each row names",
        draws={"i": between(0, 4)},
    ),
    independent(
        "gather_nd_end_of_text",
        "float[N,T,4] x, int64[N,T] ids => float[N,4] y",
        "a = ArgMax<axis=1, keepdims=0>(ids) "
        + _PLACES
        + "u = Unsqueeze(r, [1]) v = Unsqueeze(a, [1]) j = Concat<axis=-1>(u, v) y = GatherND(x, j)",
        "x[arange(B), ids.argmax(1)], as CLIP finds the end of a text",
    ),
    independent(
        "flat_mask_b_t",
        "bool[batch,T] mask, float[batch,T] x => float[batch,T] y",
        "s = Shape(mask) n = Gather(s, 0) t = Gather(s, 1) f = Reshape(mask, [-1]) r = Range(0, n, 1) "
        "u = Unsqueeze(r, [1]) b = Mul(u, t) q = Range(0, t, 1) j = Add(b, q) g = Gather(f, j) "
        "y = Where(g, x, -1.0)",
        "a mask is read at b*T + t",
    ),
    independent(
        "mask_by_gather_nd",
        "bool[batch,T] mask => float[batch,1,T,T] y",
        "s = Shape(mask) n = Gather(s, 0) t = Gather(s, 1) nu = Unsqueeze(n, [0]) tu = Unsqueeze(t, [0]) "
        "z = Concat<axis=0>(nu, [1], tu, tu) r = Range(0, n, 1) b = Reshape(r, [-1,1,1,1]) be = Expand(b, z) "
        "q = Range(0, t, 1) k = Reshape(q, [1,1,1,-1]) ke = Expand(k, z) bu = Unsqueeze(be, [-1]) "
        "ku = Unsqueeze(ke, [-1]) j = Concat<axis=-1>(bu, ku) g = GatherND(mask, j) y = Cast<to=1>(g)",
        "a mask is read at (b, t), as transformers export it",
    ),
    independent(
        "scatter_elements_per_row",
        "float[N,8] x, int64[N,2] i, float[N,2] v => float[N,8] y",
        "y = ScatterElements<axis=1>(x, i, v)",
        "each row writes its own columns",
        draws={"i": lambda rng, shape: rng.permutation(8)[:2].reshape(shape)},
    ),
    independent(
        "scatter_elements_added",
        "int64[N,5] i => float[N,8] y",
        "s = Shape(i) n = Slice(s, [0], [1]) t = Concat<axis=0>(n, [8]) z = ConstantOfShape(t) "
        "o = ConstantOfShape<value = float[1] {1.0}>(s) "
        'y = ScatterElements<axis=1, reduction="add">(z, i, o)',
        "a histogram of each row",
        draws={"i": between(0, 8)},
        opset=18,
    ),
    independent(
        "scatter_nd_own_place",
        "float[N,6] x, int64[N,1] i => float[N,6] y",
        _PLACES + "u = Unsqueeze(r, [1]) j = Concat<axis=1>(u, i) v = ReduceMax<axes=[1], keepdims=0>(x) "
        "y = ScatterND(x, j, v)",
        "x[arange(B), i] = max of the row",
        draws={"i": between(0, 6)},
    ),
    independent(
        "scatter_nd_columns",
        "float[N,6] x => float[N,6] y",
        "t = Transpose(x) u = Slice(t, [0], [2], [0]) v = Neg(u) z = ScatterND(t, at, v) y = Transpose(z)",
        "two columns are written, with the batch on axis 1",
        constants={"at": np.array([[1], [4]])},
    ),
    independent(
        "compress_columns",
        "float[N,4] x => float[N,2] y",
        "y = Compress<axis=1>(x, keep)",
        "a constant choice of columns",
        constants={"keep": np.array([True, False, True])},
    ),
    independent(
        "tensor_scatter",
        "float[N,8,2] cache, float[N,1,2] x, int64[N] i => float[N,8,2] y",
        "y = TensorScatter<axis=1>(cache, x, i)",
        "each row's own place in its cache",
        draws={"i": between(0, 8)},
        opset=24,
    ),
    independent(
        "roi_align_own_place",
        "float[N,1,6,6] x, float[N,4] rois => float[N,1,2,2] y",
        _PLACES + "y = RoiAlign<output_height=2, output_width=2, sampling_ratio=1>(x, rois, r)",
        "one region for each picture, in order",
        draws={"rois": between(0.0, 5.0)},
    ),
    independent(
        "divided_by_time",
        _XT,
        "s = Shape(x) t = Gather(s, 1) f = Cast<to=1>(t) m = ReduceSum(x, [1]) d = Div(m, f) y = Sub(x, d)",
        "a length beside the batch reaches the data",
    ),
    independent(
        "scaled_by_head_size",
        "float[N,T,4] x => float[N,T,4] y",
        "s = Shape(x) d = Slice(s, [-1], [99]) f = Cast<to=1>(d) q = Sqrt(f) y = Div(x, q)",
        "the square root of the last length, from Shape",
    ),
    independent(
        "time_divided_by_8",
        _XT,
        "s = Shape(x) t = Gather(s, 1) d = Div(t, 8) f = Cast<to=1>(d) y = Add(x, f)",
        "a whole division of the length of time",
        lengths={"T": (5, 9)},
    ),
    independent(
        "positions_in_time",
        "float[N,T,4] x => float[N,T,4] y",
        "s = Shape(x) t = Gather(s, 1) r = Range(0, t, 1) f = Cast<to=1>(r) u = Unsqueeze(f, [1]) "
        "a = Mul(u, p[1,4]) c = Cos(a) y = Add(x, c)",
        "a cosine of the position in time",
    ),
    independent(
        "size_over_shape",
        _XT,
        "z = Size(x) s = Shape(x) n = Gather(s, 0) t = Div(z, n) f = Cast<to=1>(t) y = Mul(x, f)",
        "the size divided by the number of rows: the length of a row",
    ),
    independent(
        "shape_15_slice",
        "float[N,T,4] x => float[N,T,4] y",
        "t = Shape<start=1, end=2>(x) f = Cast<to=1>(t) y = Add(x, f)",
        "Shape with start and end takes the length of time",
    ),
    independent(
        "resize_to_shape_of_other",
        "float[N,2,4,4] x, float[N,2,8,8] z => float[N,2,8,8] y",
        "s = Shape(z) h = Slice(s, [2], [4]) b = Shape(x) c = Slice(b, [0], [2]) t = Concat<axis=0>(c, h) "
        'r = Resize<mode="linear">(x, "", "", t) y = Add(r, z)',
        "the length is another input's",
    ),
    independent(
        "max_unpool_own_indices",
        "float[N,1,4,4] x => float[N,1,4,4] y",
        "p, i = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) s = Shape(x) "
        "y = MaxUnpool<kernel_shape=[2,2], strides=[2,2]>(p, i, s)",
        "indices count on from row to row, and are used in the same order",
    ),
    independent(
        "grid_sample",
        "float[N,2,5,5] x, float[N,3,3,2] grid => float[N,2,3,3] y",
        'y = GridSample<padding_mode="border">(x, grid)',
        "each row's own grid",
        draws={"grid": _UNITS},
    ),
    independent(
        "affine_grid",
        "float[N,2,5,5] x, float[N,2,3] theta => float[N,2,5,5] y",
        "s = Shape(x) g = AffineGrid(theta, s) y = GridSample(x, g)",
        "each row's own transformation",
        draws={"theta": _UNITS},
        opset=20,
    ),
    independent(
        "shape_of_rows_twice",
        "float[N,T] x => float[N,T] y",
        "s = Shape(x) e = Expand(w[1,1], s) z = Shape(e) o = ConstantOfShape(z) a = Add(o, 0.5) y = Mul(x, a)",
        "the shape of a tensor that has the shape of the rows",
    ),
]
