"""Rows stay apart in reading and writing by index, and where sizes are used in ways that do not tell rows apart."""

import numpy as np

from tests.support.rows.case import read_cases

_TABLE = """
embedding (draws ids=0..10): a table of words
    int64[batch,T] ids => float[batch,T,4] y | y = Gather(w[10,4], ids)
embedding_int32_pooled (draws ids=-10..10): a table of words, and the mean
    int32[batch,T] ids => float[batch,4] y | e = Gather(w[10,4], ids) y = ReduceMean<axes=[1], keepdims=0>(e)
embedding_of_one_id (draws ids=0..10): a category
    int64[N] ids => float[N,4] y | y = Gather(w[10,4], ids)
embedding_axis_1 (axes y=1; draws ids=0..10): a table whose columns are words
    int64[N] ids => float[4,N] y | y = Gather<axis=1>(w[4,10], ids)
word_and_position (draws ids=0..10): positions go along time
    int64[batch,T] ids => float[batch,T,4] y
    s = Shape(ids) t = Gather(s, 1) r = Range(0, t, 1) p = Gather(w[16,4], r) e = Gather(w[10,4], ids) a = Add(e, p)
    y = LayerNormalization(a, p[4], w[4])
position_expanded_over_rows (draws ids=0..10): positions are repeated for each row
    int64[batch,T] ids => float[batch,T,4] y
    s = Shape(ids) t = Gather(s, 1) r = Range(0, t, 1) u = Unsqueeze(r, [0]) q = Expand(u, s) p = Gather(w[16,4], q)
    e = Gather(w[10,4], ids) y = Add(e, p)
position_from_mask (draws mask=0..2): positions count what is not padding
    int64[batch,T] mask => float[batch,T,4] y | c = CumSum(mask, 1) m = Mul(c, mask) y = Gather(w[16,4], m)
first_token: the class token
    float[N,T,4] x => float[N,4] y | y = Gather<axis=1>(x, 0)
last_token: the last token
    float[N,T,4] x => float[N,4] y | y = Gather<axis=-2>(x, -1)
columns_reordered: columns in another order
    y = Gather<axis=-1>(x, [3,1,0,2])
relative_position_bias (constants index): a bias from a table of distances
    float[N,2,4,4] x => float[N,2,4,4] y
    g = Gather(w[9,2], index) v = Reshape(g, [4,4,2]) t = Transpose<perm=[2,0,1]>(v) u = Unsqueeze(t, [0]) a = Add(x, u)
    y = Softmax(a)
last_valid_step (draws n=1..5): the step at the row's own length
    float[N,T,4] x, int64[N] n => float[N,4] y
    m = Sub(n, 1) u = Unsqueeze(m, [1,2]) s = Shape(x) b = Slice(s, [0], [1]) t = Concat<axis=0>(b, [1,4])
    i = Expand(u, t) g = GatherElements<axis=1>(x, i) y = Squeeze(g, [1])
gather_elements_per_row (draws i=-8..8): each row's own columns
    float[N,8] x, int64[N,3] i => float[N,3] y | y = GatherElements<axis=1>(x, i)
sort_by_score: each row's boxes by score
    float[N,6,2] x, float[N,6] scores => float[N,6,2] y
    v, i = TopK(scores, [6]) u = Unsqueeze(i, [2]) e = Tile(u, [1,1,2]) y = GatherElements<axis=1>(x, e)
gather_nd_batch_dims (draws i=0..6): each row's own places
    float[N,6,2] x, int64[N,3,1] i => float[N,3,2] y | y = GatherND<batch_dims=1>(x, i)
gather_nd_from_table (draws i=0..5): a table with two indices
    int64[N,3,2] i => float[N,3] y | y = GatherND(w[5,6], i)
gather_nd_own_place (draws i=0..4): x[arange(B), i]: the step that each row names
    float[N,T,4] x, int64[N] i => float[N,4] y
    $PLACES u = Unsqueeze(r, [1]) v = Unsqueeze(i, [1]) j = Concat<axis=1>(u, v) y = GatherND(x, j)
gather_nd_end_of_text: x[arange(B), ids.argmax(1)], as CLIP finds the end of a text
    float[N,T,4] x, int64[N,T] ids => float[N,4] y
    a = ArgMax<axis=1, keepdims=0>(ids) $PLACES u = Unsqueeze(r, [1]) v = Unsqueeze(a, [1]) j = Concat<axis=-1>(u, v)
    y = GatherND(x, j)
flat_mask_b_t: a mask is read at b*T + t
    bool[batch,T] mask, float[batch,T] x => float[batch,T] y
    s = Shape(mask) n = Gather(s, 0) t = Gather(s, 1) f = Reshape(mask, [-1]) r = Range(0, n, 1) u = Unsqueeze(r, [1])
    b = Mul(u, t) q = Range(0, t, 1) j = Add(b, q) g = Gather(f, j) y = Where(g, x, -1.0)
mask_by_gather_nd: a mask is read at (b, t), as transformers export it
    bool[batch,T] mask => float[batch,1,T,T] y
    s = Shape(mask) n = Gather(s, 0) t = Gather(s, 1) nu = Unsqueeze(n, [0]) tu = Unsqueeze(t, [0])
    z = Concat<axis=0>(nu, [1], tu, tu) r = Range(0, n, 1) b = Reshape(r, [-1,1,1,1]) be = Expand(b, z)
    q = Range(0, t, 1) k = Reshape(q, [1,1,1,-1]) ke = Expand(k, z) bu = Unsqueeze(be, [-1]) ku = Unsqueeze(ke, [-1])
    j = Concat<axis=-1>(bu, ku) g = GatherND(mask, j) y = Cast<to=1>(g)
scatter_elements_added (draws i=0..8; opset 18): a histogram of each row
    int64[N,5] i => float[N,8] y
    s = Shape(i) n = Slice(s, [0], [1]) t = Concat<axis=0>(n, [8]) z = ConstantOfShape(t)
    o = ConstantOfShape<value = float[1] {1.0}>(s) y = ScatterElements<axis=1, reduction="add">(z, i, o)
scatter_nd_own_place (draws i=0..6): x[arange(B), i] = max of the row
    float[N,6] x, int64[N,1] i => float[N,6] y
    $PLACES u = Unsqueeze(r, [1]) j = Concat<axis=1>(u, i) v = ReduceMax<axes=[1], keepdims=0>(x) y = ScatterND(x, j, v)
scatter_nd_columns (constants at): two columns are written, with the batch on axis 1
    float[N,6] x => float[N,6] y
    t = Transpose(x) u = Slice(t, [0], [2], [0]) v = Neg(u) z = ScatterND(t, at, v) y = Transpose(z)
compress_columns (constants keep): a constant choice of columns
    float[N,4] x => float[N,2] y | y = Compress<axis=1>(x, keep)
tensor_scatter (draws i=0..8; opset 24): each row's own place in its cache
    float[N,8,2] cache, float[N,1,2] x, int64[N] i => float[N,8,2] y | y = TensorScatter<axis=1>(cache, x, i)
roi_align_own_place (draws rois=0.0..5.0): one region for each picture, in order
    float[N,1,6,6] x, float[N,4] rois => float[N,1,2,2] y
    $PLACES y = RoiAlign<output_height=2, output_width=2, sampling_ratio=1>(x, rois, r)
divided_by_time: a length beside the batch reaches the data
    float[N,T] x => float[N,T] y
    s = Shape(x) t = Gather(s, 1) f = Cast<to=1>(t) m = ReduceSum(x, [1]) d = Div(m, f) y = Sub(x, d)
scaled_by_head_size: the square root of the last length, from Shape
    float[N,T,4] x => float[N,T,4] y | s = Shape(x) d = Slice(s, [-1], [99]) f = Cast<to=1>(d) q = Sqrt(f) y = Div(x, q)
time_divided_by_8 (lengths T=5,9): a whole division of the length of time
    float[N,T] x => float[N,T] y | s = Shape(x) t = Gather(s, 1) d = Div(t, 8) f = Cast<to=1>(d) y = Add(x, f)
positions_in_time: a cosine of the position in time
    float[N,T,4] x => float[N,T,4] y
    s = Shape(x) t = Gather(s, 1) r = Range(0, t, 1) f = Cast<to=1>(r) u = Unsqueeze(f, [1]) a = Mul(u, p[1,4])
    c = Cos(a) y = Add(x, c)
size_over_shape: the size divided by the number of rows: the length of a row
    float[N,T] x => float[N,T] y
    z = Size(x) s = Shape(x) n = Gather(s, 0) t = Div(z, n) f = Cast<to=1>(t) y = Mul(x, f)
shape_15_slice: Shape with start and end takes the length of time
    float[N,T,4] x => float[N,T,4] y | t = Shape<start=1, end=2>(x) f = Cast<to=1>(t) y = Add(x, f)
resize_to_shape_of_other: the length is another input's
    float[N,2,4,4] x, float[N,2,8,8] z => float[N,2,8,8] y
    s = Shape(z) h = Slice(s, [2], [4]) b = Shape(x) c = Slice(b, [0], [2]) t = Concat<axis=0>(c, h)
    r = Resize<mode="linear">(x, "", "", t) y = Add(r, z)
max_unpool_own_indices: indices count on from row to row, and are used in the same order
    float[N,1,4,4] x => float[N,1,4,4] y
    p, i = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) s = Shape(x)
    y = MaxUnpool<kernel_shape=[2,2], strides=[2,2]>(p, i, s)
grid_sample (draws grid=-1.0..1.0): each row's own grid
    float[N,2,5,5] x, float[N,3,3,2] grid => float[N,2,3,3] y | y = GridSample<padding_mode="border">(x, grid)
affine_grid (draws theta=-1.0..1.0; opset 20): each row's own transformation
    float[N,2,5,5] x, float[N,2,3] theta => float[N,2,5,5] y
    s = Shape(x) g = AffineGrid(theta, s) y = GridSample(x, g)
shape_of_rows_twice: the shape of a tensor that has the shape of the rows
    float[N,T] x => float[N,T] y
    s = Shape(x) e = Expand(w[1,1], s) z = Shape(e) o = ConstantOfShape(z) a = Add(o, 0.5) y = Mul(x, a)
scatter_elements_per_row (draws i=two_of_8): each row writes its own columns
    float[N,8] x, int64[N,2] i, float[N,2] v => float[N,8] y | y = ScatterElements<axis=1>(x, i, v)
"""

CASES = read_cases(
    "independent",
    _TABLE,
    constants={
        "index": (np.arange(4)[:, None] - np.arange(4) + 4).ravel() % 9,
        "at": np.array([[1], [4]]),
        "keep": np.array([True, False, True]),
    },
    draws={"two_of_8": lambda rng, shape: rng.permutation(8)[:2].reshape(shape)},
)
