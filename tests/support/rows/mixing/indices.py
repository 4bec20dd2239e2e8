"""Rows mix in reading and writing by index."""

import numpy as np

from tests.support.rows.case import read_cases

_TABLE = """
gather_first: the first row goes to all
    f = Gather(x, [0]) y = Sub(x, f)
gather_last_negative_axis: the last row goes to all, negative axis and index
    f = Gather<axis=-2>(x, -1) y = Sub(x, f)
gather_two_rows (seen shape): the first and last row
    float[N,4] x => float[2,4] y | y = Gather(x, [0,-1])
gather_by_input (draws i=-1..1): each row names the row it wants
    float[N,4] x, int64[N] i => float[N,4] y | y = Gather(x, i)
gather_by_computed: the rows that are largest in a column
    a = ArgMax<axis=0, keepdims=0>(x) y0 = Gather(x, a) m = ReduceMean<axes=[0]>(y0) y = Add(x, m)
gather_sorted: rows are sorted by their sum
    k0 = ReduceSum<keepdims=0>(x, [1]) s = Shape(k0) v, i = TopK(k0, s) y = Gather(x, i)
gather_reversed_places: places count down
    $PLACES m = Sub(n, 1) i = Sub(m, r) y = Gather(x, i)
gather_clipped_places (unseen 1,3,5,8): from the ninth row on, rows are the eighth
    $PLACES c = Min(r, 7) y = Gather(x, c)
gather_places_mod_8 (unseen 1,3,5,8): from the ninth row on, rows begin again
    $PLACES c = Mod(r, 8) y = Gather(x, c)
gather_next_place: each row is the next
    $PLACES a = Add(r, 1) c = Mod(a, n) y = Gather(x, c)
gather_halved_places: two rows are one
    $PLACES c = Div(r, 2) y = Gather(x, c)
gather_flat_wrong_stride (constants t): a flat index whose stride is too short
    float[N,5] x => float[N,5] y
    f = Reshape(x, [-1]) $PLACES m = Mul(r, 4) u = Unsqueeze(m, [1]) i = Add(u, t) y = Gather(f, i)
gather_columns_of_all_rows (draws i=0..8; seen shape): the columns that all rows ask for, for each row
    float[N,8] x, int64[N] i => float[N,M] y | y = Gather<axis=1>(x, i)
gather_columns_then_first (draws i=0..8): the column that the first row asks for
    float[N,8] x, int64[N] i => float[N] y | g = Gather<axis=1>(x, i) y = Gather<axis=1>(g, 0)
gather_elements_row_0: all indices are 0: the first row
    $N z = Mul(s, 0) k = Mul(n, 0) i = Expand(k, s) y = GatherElements<axis=0>(x, i)
gather_elements_argsort: each column by its own order
    s = Shape(x) k = Slice(s, [0], [1]) v, i = TopK<axis=0>(x, k) y = GatherElements<axis=0>(x, i)
gather_elements_batch_on_1 (axes x=1 y=1): the batch is on the last axis and sorted
    float[4,batch] x => float[4,batch] y
    s = Shape(x) k = Slice(s, [1], [2]) v, i = TopK<axis=1, largest=0>(x, k) y = GatherElements<axis=-1>(x, i)
gather_nd_row_and_column (draws i=-1..1): each row names a row and a column
    float[N,4] x, int64[N,2] i => float[N] y | y = GatherND(x, i)
gather_nd_places_clipped (draws i=0..4; unseen 1,3,5,8): the row of the index is clipped
    float[N,4] x, int64[N,1] i => float[N] y
    $PLACES c = Min(r, 7) u = Unsqueeze(c, [1]) j = Concat<axis=1>(u, i) y = GatherND(x, j)
gather_nd_swapped: the row of the index counts down
    float[N,4] x => float[N] y
    $PLACES a = Sub(n, 1) b = Sub(a, r) u = Unsqueeze(b, [1]) z = Mul(u, 0) j = Concat<axis=1>(u, z) y = GatherND(x, j)
flat_mask_index_swapped (draws i=0..6): a mask is read at t*B + b instead of b*T + t
    float[batch,6] m, int64[batch,3] i => float[batch,3] y
    s = Shape(m) n = Gather(s, 0) f = Reshape(m, [-1]) r = Range(0, n, 1) u = Unsqueeze(r, [1]) t = Mul(i, n)
    j = Add(t, u) y = Gather(f, j)
flat_index_unchecked (draws i=0..8; seen failure): b*T + i reads another row where i is T or more; the last row fails
    float[batch,6] x, int64[batch,3] i => float[batch,3] y
    s = Shape(x) n = Gather(s, 0) t = Gather(s, 1) f = Reshape(x, [-1]) r = Range(0, n, 1) u = Unsqueeze(r, [1])
    b = Mul(u, t) j = Add(b, i) y = Gather(f, j)
scatter_elements_row_0 (opset 18): all is added to the first row
    float[N,4] x, float[N,4] z => float[N,4] y
    s = Shape(x) i = ConstantOfShape<value = int64[1] {0}>(s) y = ScatterElements<axis=0, reduction="add">(x, i, z)
scatter_elements_by_input (draws i=-1..1): each row writes where it wants
    float[N,4] x, int64[N,4] i => float[N,4] y | c = Mul(x, 2.0) y = ScatterElements<axis=0>(x, i, c)
scatter_nd_reversed (opset 16): rows are written back to front
    $N m = Sub(n, 1) r = Range(m, -1, -1) u = Unsqueeze(r, [1]) t = Tanh(x) y = ScatterND(x, u, t)
scatter_nd_first (constants zero): the first row is written
    m = ReduceMax<axes=[1], keepdims=1>(x) e = Add(x, m) f = Slice(e, [0], [1], [0]) z = Neg(f)
    y = ScatterND(e, zero, z)
graph_convolution (axes edges=None; draws edges=-1..1; opset 18): rows are nodes that are joined by edges
    float[N,4] x, int64[2,6] edges => float[N,4] y
    a = Slice(edges, [0], [1], [0]) b = Slice(edges, [1], [2], [0]) p = Squeeze(a, [0]) q = Unsqueeze(b, [2])
    t = Squeeze(q, [0]) v = Gather(x, p) y = ScatterND<reduction="add">(x, t, v)
compress_rows (constants keep; seen shape; sizes 1,2,3): only the second row
    float[N,4] x => float[M,4] y | y = Compress<axis=0>(x, keep)
compress_by_data (seen shape): only rows above a threshold
    float[N,4] x => float[M,4] y | m = ReduceMax<axes=[1], keepdims=0>(x) k = Greater(m, 1.0) y = Compress<axis=0>(x, k)
compress_columns_by_all (seen shape): columns whose mean over the batch is above zero
    float[N,4] x => float[N,M] y
    m = ReduceMean<axes=[0], keepdims=0>(x) k = Greater(m, 0.0) y = Compress<axis=1>(x, k)
non_zero (seen shape): where all rows are above zero
    float[N,4] x => int64[2,M] y | r = Relu(x) y = NonZero(r)
non_zero_count: the number of what is above zero in the batch
    r = Relu(x) i = NonZero(r) s = Shape(i) n = Gather(s, 1) f = Cast<to=1>(n) y = Div(x, f)
boolean_mask (seen shape): x[x > 0] of the whole batch
    float[N,T] x => float[M] y | b = Greater(x, 0.0) i = NonZero(b) t = Transpose(i) y = GatherND(x, t)
unique_values (seen shape): the values of the batch, once each
    int64[N] x => int64[M] y | y = Unique(x)
unique_inverse (draws x=0..5): each row's rank among the values of the batch
    int64[N] x => int64[N] i | y, f, i = Unique(x)
unique_counts_back: how often the row's value is in the batch
    int64[N] x => int64[N] y | u, f, i, c = Unique(x) y = Gather(c, i)
unique_rows (seen shape): each row once
    float[N,2] x => float[M,2] y | r = Round(x) y = Unique<axis=0>(r)
top_of_all (seen shape): the largest of all
    float[N,4] x => float[1] y | f = Reshape(x, [-1]) y, i = TopK(f, [1])
rank_threshold: all but the two largest of the batch are zero
    f = Reshape(x, [-1]) v, i = TopK(f, [2]) m = ReduceMin(v) b = GreaterOrEqual(x, m) c = Cast<to=1>(b) y = Mul(x, c)
non_max_suppression (draws boxes=0.0..1.0 scores=0.0..1.0; seen shape): boxes of all rows in one list
    float[N,6,4] boxes, float[N,2,6] scores => int64[M,3] y | y = NonMaxSuppression(boxes, scores, [3], [0.5], [0.1])
non_max_suppression_rows (draws boxes=0.0..1.0 scores=0.0..1.0; seen shape): rows are the boxes of one picture
    float[N,4] boxes, float[N] scores => float[M,4] y
    b = Unsqueeze(boxes, [0]) c = Unsqueeze(scores, [0,1]) i = NonMaxSuppression(b, c, [3], [0.5])
    k = Gather<axis=1>(i, 2) y = Gather(boxes, k)
roi_align (constants box; draws i=0..1): each row names the picture that it crops
    float[N,1,6,6] x, int64[N] i => float[N,1,2,2] y
    s = Shape(i) t = Concat<axis=0>(s, [4]) r = Expand(box, t)
    y = RoiAlign<output_height=2, output_width=2, sampling_ratio=1>(x, r, i)
roi_align_reversed (draws rois=0.0..5.0): the pictures are cropped back to front
    float[N,1,6,6] x, float[N,4] rois => float[N,1,2,2] y
    s = Shape(x) n = Gather(s, 0) m = Sub(n, 1) i = Range(m, -1, -1)
    y = RoiAlign<output_height=2, output_width=2, sampling_ratio=1>(x, rois, i)
grid_sample_other_row (draws grid=-1.0..1.0): the grid of the next row
    float[N,1,5,5] x, float[N,3,3,2] grid => float[N,1,3,3] y
    a = Slice(grid, [1], [999], [0]) b = Slice(grid, [0], [1], [0]) g = Concat<axis=0>(a, b) y = GridSample(x, g)
max_pool_indices_out: the indices of MaxPool count on from row to row
    float[N,2,4,4] x => float[N,2,2,2] y, int64[N,2,2,2] i | y, i = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x)
max_unpool_other_rows: values of the rows in reverse, to the places of the rows in order
    float[N,1,4,4] x => float[N,1,4,4] y
    p, i = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) a = Slice(p, [-1], [-9999], [0], [-1]) s = Shape(x)
    y = MaxUnpool<kernel_shape=[2,2], strides=[2,2]>(a, i, s)
reverse_sequence_swapped: the batch is time and is reversed
    float[N,3] x => float[N,3] y
    s = Shape(x) n = Slice(s, [0], [1]) l = Expand(n, [3]) y = ReverseSequence<batch_axis=1, time_axis=0>(x, l)
reverse_sequence_lengths_shared (axes x=1 y=1; draws n=1..5): each row is reversed up to the longest length
    float[T,batch,2] x, int64[batch] n => float[T,batch,2] y
    m = ReduceMax(n) s = Shape(n) l = Expand(m, s) y = ReverseSequence(x, l)
one_hot_depth_of_data (draws x=0..6; seen shape): as many classes as the largest of the batch
    int64[N] x => float[N,M] y | m = ReduceMax(x) d = Add(m, 1) y = OneHot(x, d, [0.0, 1.0])
array_feature_rows (axes y=1): the feature that is extracted is the first row
    float[N,1] x => float[1,N] y | t = Transpose(x) a = ai.onnx.ml.ArrayFeatureExtractor(t, [0]) y = Sub(t, a)
tensor_scatter_by_place (opset 24): the place in the cache is the place in the batch
    float[N,8,2] cache, float[N,1,2] x => float[N,8,2] y
    s = Shape(x) n = Gather(s, 0) r = Range(0, n, 1) i = Mod(r, 8) y = TensorScatter<axis=-2>(cache, x, i)
reciprocal_rank: the rank of a row's score in the batch
    float[N] x => float[N] y
    a = Unsqueeze(x, [1]) b = Unsqueeze(x, [0]) g = Less(a, b) c = Cast<to=1>(g) k = ReduceSum<keepdims=0>(c, [1])
    e = Add(k, 1.0) y = Reciprocal(e)
first_row_if_equal: whether a row is the same as the first
    int64[N] x => int64[N] y | f = Gather(x, 0) e = Equal(x, f) y = Cast<to=7>(e)
gather_flat_off_by_one (constants before): a flat index that reads the end of the row before
    float[N,5] x => float[N,5] y
    $PLACES f = Reshape(x, [-1]) m = Mul(r, 5) u = Unsqueeze(m, [1]) i = Add(u, before) y = Gather(f, i)
compress_flat (constants ends; seen shape): no axis: the first numbers of all rows
    float[N,4] x => float[M] y | y = Compress(x, ends)
max_roi_pool_first_picture (constants region): all regions are of the first picture
    float[N,1,6,6] x => float[N,1,2,2] y
    s = Shape(x) n = Slice(s, [0], [1]) t = Concat<axis=0>(n, [5]) r = Expand(region, t)
    y = MaxRoiPool<pooled_shape=[2,2]>(x, r)
"""

CASES = read_cases(
    "mixing",
    _TABLE,
    constants={
        "t": np.arange(5),
        "before": np.arange(5) - 1,
        "zero": np.zeros((1, 1), np.int64),
        "keep": np.array([False, True]),
        "ends": np.array([True, False, True]),
        "box": np.array([[0, 0, 4, 4]], np.float32),
        "region": np.array([[0, 0, 0, 4, 4]], np.float32),
    },
)
