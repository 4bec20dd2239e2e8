"""Rows mix in reading and writing by index."""

import numpy as np

from tests.support.rows.case import Case, between, mixing

_X = "float[N,4] x => float[N,4] y"
_N = "s = Shape(x) n = Gather(s, 0) "
_PLACES = _N + "r = Range(0, n, 1) "
_UNITS = between(0.0, 1.0)

CASES: list[Case] = [
    mixing("gather_first", _X, "f = Gather(x, [0]) y = Sub(x, f)", "the first row goes to all"),
    mixing(
        "gather_last_negative_axis",
        _X,
        "f = Gather<axis=-2>(x, -1) y = Sub(x, f)",
        "the last row goes to all, negative axis and index",
    ),
    mixing(
        "gather_two_rows",
        "float[N,4] x => float[2,4] y",
        "y = Gather(x, [0,-1])",
        "the first and last row",
        seen="shape",
    ),
    mixing(
        "gather_by_input",
        "float[N,4] x, int64[N] i => float[N,4] y",
        "y = Gather(x, i)",
        "each row names the row it wants",
        draws={"i": between(-1, 1)},
    ),
    mixing(
        "gather_by_computed",
        _X,
        "a = ArgMax<axis=0, keepdims=0>(x) y0 = Gather(x, a) m = ReduceMean<axes=[0]>(y0) y = Add(x, m)",
        "the rows that are largest in a column",
    ),
    mixing(
        "gather_sorted",
        _X,
        "k0 = ReduceSum<keepdims=0>(x, [1]) s = Shape(k0) v, i = TopK(k0, s) y = Gather(x, i)",
        "rows are sorted by their sum",
    ),
    mixing("gather_reversed_places", _X, _PLACES + "m = Sub(n, 1) i = Sub(m, r) y = Gather(x, i)", "places count down"),
    mixing(
        "gather_clipped_places",
        _X,
        _PLACES + "c = Min(r, 7) y = Gather(x, c)",
        "from the ninth row on, rows are the eighth",
        unseen=(1, 3, 5, 8),
    ),
    mixing(
        "gather_places_mod_8",
        _X,
        _PLACES + "c = Mod(r, 8) y = Gather(x, c)",
        "from the ninth row on, rows begin again",
        unseen=(1, 3, 5, 8),
    ),
    mixing("gather_next_place", _X, _PLACES + "a = Add(r, 1) c = Mod(a, n) y = Gather(x, c)", "each row is the next"),
    mixing("gather_halved_places", _X, _PLACES + "c = Div(r, 2) y = Gather(x, c)", "two rows are one"),
    mixing(
        "gather_flat_wrong_stride",
        "float[N,5] x => float[N,5] y",
        "f = Reshape(x, [-1]) " + _PLACES + "m = Mul(r, 4) u = Unsqueeze(m, [1]) i = Add(u, t) y = Gather(f, i)",
        "a flat index whose stride is too short",
        constants={"t": np.arange(5)},
    ),
    mixing(
        "gather_flat_off_by_one",
        "float[N,5] x => float[N,5] y",
        "f = Reshape(x, [-1]) " + _PLACES + "m = Mul(r, 5) u = Unsqueeze(m, [1]) i = Add(u, t) y = Gather(f, i)",
        "a flat index that reads the end of the row before",
        constants={"t": np.arange(5) - 1},
    ),
    mixing(
        "gather_columns_of_all_rows",
        "float[N,8] x, int64[N] i => float[N,M] y",
        "y = Gather<axis=1>(x, i)",
        "the columns that all rows ask for, for each row",
        draws={"i": between(0, 8)},
        seen="shape",
    ),
    mixing(
        "gather_columns_then_first",
        "float[N,8] x, int64[N] i => float[N] y",
        "g = Gather<axis=1>(x, i) y = Gather<axis=1>(g, 0)",
        "the column that the first row asks for",
        draws={"i": between(0, 8)},
    ),
    mixing(
        "gather_elements_row_0",
        _X,
        _N + "z = Mul(s, 0) k = Mul(n, 0) i = Expand(k, s) y = GatherElements<axis=0>(x, i)",
        "all indices are 0: the first row",
    ),
    mixing(
        "gather_elements_argsort",
        _X,
        "s = Shape(x) k = Slice(s, [0], [1]) v, i = TopK<axis=0>(x, k) y = GatherElements<axis=0>(x, i)",
        "each column by its own order",
    ),
    mixing(
        "gather_elements_batch_on_1",
        "float[4,batch] x => float[4,batch] y",
        "s = Shape(x) k = Slice(s, [1], [2]) v, i = TopK<axis=1, largest=0>(x, k) y = GatherElements<axis=-1>(x, i)",
        "the batch is on the last axis and sorted",
        axes={"x": 1, "y": 1},
    ),
    mixing(
        "gather_nd_row_and_column",
        "float[N,4] x, int64[N,2] i => float[N] y",
        "y = GatherND(x, i)",
        "each row names a row and a column",
        draws={"i": between(-1, 1)},
    ),
    mixing(
        "gather_nd_places_clipped",
        "float[N,4] x, int64[N,1] i => float[N] y",
        _PLACES + "c = Min(r, 7) u = Unsqueeze(c, [1]) j = Concat<axis=1>(u, i) y = GatherND(x, j)",
        "the row of the index is clipped",
        draws={"i": between(0, 4)},
        unseen=(1, 3, 5, 8),
    ),
    mixing(
        "gather_nd_swapped",
        "float[N,4] x => float[N] y",
        _PLACES + "a = Sub(n, 1) b = Sub(a, r) u = Unsqueeze(b, [1]) z = Mul(u, 0) j = Concat<axis=1>(u, z) "
        "y = GatherND(x, j)",
        "the row of the index counts down",
    ),
    mixing(
        "flat_mask_index_swapped",
        "float[batch,6] m, int64[batch,3] i => float[batch,3] y",
        "s = Shape(m) n = Gather(s, 0) f = Reshape(m, [-1]) r = Range(0, n, 1) u = Unsqueeze(r, [1]) "
        "t = Mul(i, n) j = Add(t, u) y = Gather(f, j)",
        "a mask is read at t*B + b instead of b*T + t",
        draws={"i": between(0, 6)},
    ),
    mixing(
        "flat_index_unchecked",
        "float[batch,6] x, int64[batch,3] i => float[batch,3] y",
        "s = Shape(x) n = Gather(s, 0) t = Gather(s, 1) f = Reshape(x, [-1]) r = Range(0, n, 1) "
        "u = Unsqueeze(r, [1]) b = Mul(u, t) j = Add(b, i) y = Gather(f, j)",
        "b*T + i reads another row where i is not below T, and only the last row fails",
        draws={"i": between(0, 8)},
        seen="failure",
    ),
    mixing(
        "scatter_elements_row_0",
        "float[N,4] x, float[N,4] z => float[N,4] y",
        "s = Shape(x) i = ConstantOfShape<value = int64[1] {0}>(s) "
        'y = ScatterElements<axis=0, reduction="add">(x, i, z)',
        "all is added to the first row",
        opset=18,
    ),
    mixing(
        "scatter_elements_by_input",
        "float[N,4] x, int64[N,4] i => float[N,4] y",
        "c = Mul(x, 2.0) y = ScatterElements<axis=0>(x, i, c)",
        "each row writes where it wants",
        draws={"i": between(-1, 1)},
    ),
    mixing(
        "scatter_nd_reversed",
        _X,
        _N + "m = Sub(n, 1) r = Range(m, -1, -1) u = Unsqueeze(r, [1]) t = Tanh(x) y = ScatterND(x, u, t)",
        "rows are written back to front",
        opset=16,
    ),
    mixing(
        "scatter_nd_first",
        _X,
        "m = ReduceMax<axes=[1], keepdims=1>(x) e = Add(x, m) f = Slice(e, [0], [1], [0]) z = Neg(f) "
        "y = ScatterND(e, zero, z)",
        "the first row is written",
        constants={"zero": np.zeros((1, 1), np.int64)},
    ),
    mixing(
        "graph_convolution",
        "float[N,4] x, int64[2,6] edges => float[N,4] y",
        "a = Slice(edges, [0], [1], [0]) b = Slice(edges, [1], [2], [0]) p = Squeeze(a, [0]) "
        'q = Unsqueeze(b, [2]) t = Squeeze(q, [0]) v = Gather(x, p) y = ScatterND<reduction="add">(x, t, v)',
        "rows are nodes that are joined by edges",
        axes={"edges": None},
        draws={"edges": between(-1, 1)},
        opset=18,
    ),
    mixing(
        "compress_rows",
        "float[N,4] x => float[M,4] y",
        "y = Compress<axis=0>(x, keep)",
        "only the second row",
        constants={"keep": np.array([False, True])},
        seen="shape",
        sizes=(1, 2, 3),
    ),
    mixing(
        "compress_by_data",
        "float[N,4] x => float[M,4] y",
        "m = ReduceMax<axes=[1], keepdims=0>(x) k = Greater(m, 1.0) y = Compress<axis=0>(x, k)",
        "only rows above a threshold",
        seen="shape",
    ),
    mixing(
        "compress_flat",
        "float[N,4] x => float[M] y",
        "y = Compress(x, keep)",
        "no axis: the first numbers of all rows",
        constants={"keep": np.array([True, False, True])},
        seen="shape",
    ),
    mixing(
        "compress_columns_by_all",
        "float[N,4] x => float[N,M] y",
        "m = ReduceMean<axes=[0], keepdims=0>(x) k = Greater(m, 0.0) y = Compress<axis=1>(x, k)",
        "columns whose mean over the batch is above zero",
        seen="shape",
    ),
    mixing(
        "non_zero",
        "float[N,4] x => int64[2,M] y",
        "r = Relu(x) y = NonZero(r)",
        "where all rows are above zero",
        seen="shape",
    ),
    mixing(
        "non_zero_count",
        "float[N,4] x => float[N,4] y",
        "r = Relu(x) i = NonZero(r) s = Shape(i) n = Gather(s, 1) f = Cast<to=1>(n) y = Div(x, f)",
        "the number of what is above zero in the batch",
    ),
    mixing(
        "boolean_mask",
        "float[N,T] x => float[M] y",
        "b = Greater(x, 0.0) i = NonZero(b) t = Transpose(i) y = GatherND(x, t)",
        "x[x > 0] of the whole batch",
        seen="shape",
    ),
    mixing(
        "unique_values", "int64[N] x => int64[M] y", "y = Unique(x)", "the values of the batch, once each", seen="shape"
    ),
    mixing(
        "unique_inverse",
        "int64[N] x => int64[N] i",
        "y, f, i = Unique(x)",
        "each row's rank among the values of the batch",
        draws={"x": between(0, 5)},
    ),
    mixing(
        "unique_counts_back",
        "int64[N] x => int64[N] y",
        "u, f, i, c = Unique(x) y = Gather(c, i)",
        "how often the row's value is in the batch",
    ),
    mixing(
        "unique_rows",
        "float[N,2] x => float[M,2] y",
        "r = Round(x) y = Unique<axis=0>(r)",
        "each row once",
        seen="shape",
    ),
    mixing(
        "top_of_all",
        "float[N,4] x => float[1] y",
        "f = Reshape(x, [-1]) y, i = TopK(f, [1])",
        "the largest of all",
        seen="shape",
    ),
    mixing(
        "rank_threshold",
        "float[N,4] x => float[N,4] y",
        "f = Reshape(x, [-1]) v, i = TopK(f, [2]) m = ReduceMin(v) b = GreaterOrEqual(x, m) "
        "c = Cast<to=1>(b) y = Mul(x, c)",
        "all but the two largest of the batch are zero",
    ),
    mixing(
        "non_max_suppression",
        "float[N,6,4] boxes, float[N,2,6] scores => int64[M,3] y",
        "y = NonMaxSuppression(boxes, scores, [3], [0.5], [0.1])",
        "boxes of all rows in one list",
        draws={"boxes": _UNITS, "scores": _UNITS},
        seen="shape",
    ),
    mixing(
        "non_max_suppression_rows",
        "float[N,4] boxes, float[N] scores => float[M,4] y",
        "b = Unsqueeze(boxes, [0]) c = Unsqueeze(scores, [0,1]) i = NonMaxSuppression(b, c, [3], [0.5]) "
        "k = Gather<axis=1>(i, 2) y = Gather(boxes, k)",
        "rows are the boxes of one picture",
        draws={"boxes": _UNITS, "scores": _UNITS},
        seen="shape",
    ),
    mixing(
        "roi_align",
        "float[N,1,6,6] x, int64[N] i => float[N,1,2,2] y",
        "s = Shape(i) t = Concat<axis=0>(s, [4]) r = Expand(box, t) "
        "y = RoiAlign<output_height=2, output_width=2, sampling_ratio=1>(x, r, i)",
        "each row names the picture that it crops",
        constants={"box": np.array([[0, 0, 4, 4]], np.float32)},
        draws={"i": between(0, 1)},
    ),
    mixing(
        "roi_align_reversed",
        "float[N,1,6,6] x, float[N,4] rois => float[N,1,2,2] y",
        "s = Shape(x) n = Gather(s, 0) m = Sub(n, 1) i = Range(m, -1, -1) "
        "y = RoiAlign<output_height=2, output_width=2, sampling_ratio=1>(x, rois, i)",
        "the pictures are cropped back to front",
        draws={"rois": between(0.0, 5.0)},
    ),
    mixing(
        "max_roi_pool_first_picture",
        "float[N,1,6,6] x => float[N,1,2,2] y",
        "s = Shape(x) n = Slice(s, [0], [1]) t = Concat<axis=0>(n, [5]) r = Expand(box, t) "
        "y = MaxRoiPool<pooled_shape=[2,2]>(x, r)",
        "all regions are of the first picture",
        constants={"box": np.array([[0, 0, 0, 4, 4]], np.float32)},
    ),
    mixing(
        "grid_sample_other_row",
        "float[N,1,5,5] x, float[N,3,3,2] grid => float[N,1,3,3] y",
        "a = Slice(grid, [1], [999], [0]) b = Slice(grid, [0], [1], [0]) g = Concat<axis=0>(a, b) y = GridSample(x, g)",
        "the grid of the next row",
        draws={"grid": between(-1.0, 1.0)},
    ),
    mixing(
        "max_pool_indices_out",
        "float[N,2,4,4] x => float[N,2,2,2] y, int64[N,2,2,2] i",
        "y, i = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x)",
        "the indices of MaxPool count on from row to row",
    ),
    mixing(
        "max_unpool_other_rows",
        "float[N,1,4,4] x => float[N,1,4,4] y",
        "p, i = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) a = Slice(p, [-1], [-9999], [0], [-1]) "
        "s = Shape(x) y = MaxUnpool<kernel_shape=[2,2], strides=[2,2]>(a, i, s)",
        "values of the rows in reverse, to the places of the rows in order",
    ),
    mixing(
        "reverse_sequence_swapped",
        "float[N,3] x => float[N,3] y",
        "s = Shape(x) n = Slice(s, [0], [1]) l = Expand(n, [3]) y = ReverseSequence<batch_axis=1, time_axis=0>(x, l)",
        "the batch is time and is reversed",
    ),
    mixing(
        "reverse_sequence_lengths_shared",
        "float[T,batch,2] x, int64[batch] n => float[T,batch,2] y",
        "m = ReduceMax(n) s = Shape(n) l = Expand(m, s) y = ReverseSequence(x, l)",
        "each row is reversed up to the longest length",
        axes={"x": 1, "y": 1},
        draws={"n": between(1, 5)},
    ),
    mixing(
        "one_hot_depth_of_data",
        "int64[N] x => float[N,M] y",
        "m = ReduceMax(x) d = Add(m, 1) y = OneHot(x, d, [0.0, 1.0])",
        "as many classes as the largest of the batch",
        draws={"x": between(0, 6)},
        seen="shape",
    ),
    mixing(
        "array_feature_rows",
        "float[N,1] x => float[1,N] y",
        "t = Transpose(x) a = ai.onnx.ml.ArrayFeatureExtractor(t, [0]) y = Sub(t, a)",
        "the feature that is extracted is the first row",
        axes={"y": 1},
    ),
    mixing(
        "tensor_scatter_by_place",
        "float[N,8,2] cache, float[N,1,2] x => float[N,8,2] y",
        "s = Shape(x) n = Gather(s, 0) r = Range(0, n, 1) i = Mod(r, 8) y = TensorScatter<axis=-2>(cache, x, i)",
        "the place in the cache is the place in the batch",
        opset=24,
    ),
    mixing(
        "reciprocal_rank",
        "float[N] x => float[N] y",
        "a = Unsqueeze(x, [1]) b = Unsqueeze(x, [0]) g = Less(a, b) c = Cast<to=1>(g) "
        "k = ReduceSum<keepdims=0>(c, [1]) e = Add(k, 1.0) y = Reciprocal(e)",
        "the rank of a row's score in the batch",
    ),
    mixing(
        "first_row_if_equal",
        "int64[N] x => int64[N] y",
        "f = Gather(x, 0) e = Equal(x, f) y = Cast<to=7>(e)",
        "whether a row is the same as the first",
    ),
]
