"""Rows mix because the size of the batch, or a row's place in it, reaches what they give."""

import numpy as np

from tests.support.rows.case import read_cases

_COLUMN = " f = Cast<to=1>(g) u = Unsqueeze(f, [1]) y = Add(x, u)"
"""A number for each row, g, is added to it."""
_ADDED = " f = Cast<to=1>(g) y = Add(x, f)"
"""A number, g, is added to all."""

_TABLE = """
divided_by_n: each row is divided by the number of rows
    $N f = Cast<to=1>(n) y = Div(x, f)
size_over_constant: the number of rows comes from Size
    z = Size(x) g = Div(z, 4) $ADDED
product_of_shape: the number of rows comes from the product of the shape
    s = Shape(x) g = ReduceProd<keepdims=0>(s) $ADDED
counted_ones: the number of rows is counted on a constant
    s = Shape(x) k = Slice(s, [0], [1]) o = ConstantOfShape<value = float[1] {1.0}>(k) g = ReduceSum<keepdims=0>(o)
    $ADDED
counted_nonzero: the number of rows is the length of NonZero of ones
    s = Shape(x) k = Slice(s, [0], [1]) o = ConstantOfShape<value = int64[1] {1}>(k) i = NonZero(o) t = Shape(i)
    g = Gather(t, 1) $ADDED
counted_by_sequence: the number of rows is the length of a sequence
    q = SplitToSequence<axis=0>(x) g = SequenceLength(q) $ADDED
last_place: the number of rows is the largest place
    $PLACES g = ReduceMax<keepdims=0>(r) $ADDED
counted_by_matmul: a weight of ones whose entries are the number of rows
    s = Shape(x) o = Slice(s, [0], [1]) k = Concat<axis=0>([4], o) l = Concat<axis=0>(o, [4])
    a = ConstantOfShape<value = float[1] {1.0}>(k) b = ConstantOfShape<value = float[1] {1.0}>(l) m = MatMul(a, b)
    y = MatMul(x, m)
add_place: each row's place is added to it
    $PLACES g = Identity(r) $COLUMN
place_by_cumsum: a running sum of ones is the place
    s = Shape(x) k = Slice(s, [0], [1]) o = ConstantOfShape<value = int64[1] {1}>(k) g = CumSum(o, 0) $COLUMN
place_parity: every second row is another
    $PLACES g = Mod(r, 2) $COLUMN
place_embedding: the table of positions is read along the batch
    $PLACES m = Mod(r, 16) e = Gather(w[16,4], m) y = Add(x, e)
place_sinus: a sine of the place along the batch
    $PLACES f = Cast<to=1>(r) u = Unsqueeze(f, [1]) a = Mul(u, p[1,4]) p0 = Sin(a) y = Add(x, p0)
place_from_the_end: rows count down
    $PLACES g = Sub(n, r) $COLUMN
places_above_7 (unseen 1,3,5,8): only from the ninth row on
    $PLACES b = Greater(r, 7) g = Cast<to=7>(b) $COLUMN
places_divided_by_6 (unseen 1,3,5): a whole division that is 0 for the first six rows
    $PLACES g = Div(r, 6) $COLUMN
place_shifted_right (opset 18; constants three; unseen 1,3,5,8): bits of the place above the third
    uint8[N,4] x => uint8[N,4] y
    $PLACES h = Cast<to=2>(r) t = BitShift<direction="RIGHT">(h, three) u = Unsqueeze(t, [1]) y = BitwiseXor(x, u)
n_above_7 (unseen 1,3,5): another answer for more than seven rows
    $N b = Greater(n, 7) y0 = Neg(x) y = Where(b, y0, x)
n_above_16 (unseen 1,3,5,8,9): another answer for more than sixteen rows
    $N b = Greater(n, 16) g = Cast<to=7>(b) $ADDED
max_16 (opset 13; unseen 1,3,5,8,9): the larger of the number of rows and 16
    $N g = Max(n, 16) $ADDED
min_6 (opset 12): the smaller of the number of rows and 6
    $N g = Min(n, 6) $ADDED
n_divided_by_8 (unseen 1,3,5): a whole division that is 0 below eight rows
    $N g = Div(n, 8) $ADDED
n_even (unseen 1,3,5): another answer for an even number of rows
    $N m = Mod(n, 2) g = Sub(1, m) $ADDED
n_is_1: one row alone is spared
    $N b = Equal(n, 1) y0 = Tanh(x) y = Where(b, x, y0)
n_is_17 (unseen 1,2,3,5,8,9,24): another answer for exactly 17 rows
    $N b = Equal(n, 17) y0 = Tanh(x) y = Where(b, y0, x)
pairs_only_if_even (unseen 1,3,5,9,17): pairs of rows share a maximum where the number of rows is even
    $N m = Mod(n, 2) g = Sub(2, m) h = Div(n, g) k = Unsqueeze(h, [0]) l = Unsqueeze(g, [0])
    t = Concat<axis=0>(k, l, [4]) a = Reshape(x, t) c = ReduceMax<axes=[1]>(a) d = Add(a, c) y = Reshape(d, s)
two_groups_from_12 (seen values; unseen 1,3,5): two groups of rows from twelve rows on
    $N g = Div(n, 12) o = Add(g, 1) h = Div(n, o) m = Mul(h, o) k = Unsqueeze(m, [0]) l = Unsqueeze(o, [0])
    q = Div(k, l) t = Concat<axis=0>(l, q, [4]) e = Slice(x, [0], k, [0]) a = Reshape(e, t) c = CumSum(a, 0)
    y = Reshape(c, [-1,4])
rolled_from_8 (unseen 1,3,5): rows move by one for each eight of them
    $N g = Div(n, 8) k = Unsqueeze(g, [0]) p = Slice(x, k, [999], [0]) q = Slice(x, [0], k, [0])
    y = Concat<axis=0>(p, q)
rows_lost_from_8 (seen shape; unseen 1,3,5): the first row is lost from eight rows on
    float[N,4] x => float[M,4] y | $N g = Div(n, 8) k = Unsqueeze(g, [0]) y = Slice(x, k, [999], [0])
padded_to_4 (seen shape): zero rows up to a multiple of four
    float[N,4] x => float[M,4] y
    $N a = Add(n, 3) b = Div(a, 4) c = Mul(b, 4) d = Sub(c, n) u = Unsqueeze(d, [0]) k = Concat<axis=0>([0,0], u, [0])
    y = Pad(x, k)
halves_swapped: the halves of the batch change places
    $N h = Div(n, 2) e = Sub(n, h) k = Unsqueeze(h, [0]) l = Unsqueeze(e, [0]) z = Concat<axis=0>(k, l)
    a, b = Split<axis=0>(x, z) y = Concat<axis=0>(b, a)
one_hot_of_n (seen shape): as many classes as there are rows
    int64[N] x => float[N,M] y | s = Shape(x) a = Abs(x) y = OneHot(a, s, [0.0, 1.0])
one_hot_of_place: the first four rows have a place each
    $PLACES h = OneHot(r, 4, [0.0, 1.0]) y = Add(x, h)
one_hot_of_place_from_8 (unseen 1,3,5): negative places count from the end, below -4 they are nothing
    $PLACES e = Sub(r, 12) h = OneHot<axis=-1>(e, 4, [0.0, 1.0]) y = Add(x, h)
table_row_of_n: a table is read at the number of rows
    $N m = Mod(n, 5) e = Gather(w[5,4], m) y = Add(x, e)
expand_flag (unseen 1,3,5): the same number for each row, which changes from eight rows on
    $N b = Greater(n, 7) f = Cast<to=1>(b) k = Unsqueeze(n, [0]) t = Concat<axis=0>(k, [1]) e = Expand(f, t)
    y = Add(x, e)
fill_value_of_n: a filled tensor whose value is the number of rows
    $N f = Cast<to=1>(n) k = Unsqueeze(n, [0]) t = Concat<axis=0>(k, [4]) z = ConstantOfShape(t) e = Add(z, f)
    y = Max(x, e)
columns_from_n (seen shape): as many columns as rows
    float[N,8] x => float[N,M] y | $N m = Mod(n, 8) a = Add(m, 1) e = Unsqueeze(a, [0]) y = Slice(x, [0], e, [1])
column_of_n: the column is chosen by the number of rows
    float[N,8] x => float[N] y | $N m = Mod(n, 8) y = Gather<axis=1>(x, m)
column_of_n_8 (unseen 1,3,5): another column from eight rows on
    float[N,8] x => float[N] y | $N m = Div(n, 8) y = Gather<axis=1>(x, m)
top_n (seen shape): as many values as rows
    float[N,30] x => float[N,M] y | s = Shape(x) k = Slice(s, [0], [1]) y, i = TopK(x, k)
tiled_n_times: columns are repeated as often as there are rows, and summed
    s = Shape(x) k = Slice(s, [0], [1]) r = Concat<axis=0>([1], k) t = Tile(x, r) z = ReduceSum(t, [1]) y = Sub(x, z)
cumsum_length_of_n (lengths T=6,9; unseen 1,3,5): more rows than columns
    float[N,T] x => float[N,T] y | $N q = Gather(s, 1) d = Sub(n, q) g = Max(d, 0) $ADDED
range_start_of_n: a range starts at the number of rows
    $N r = Range(n, 100, 7) g = ReduceMin<keepdims=0>(r) $ADDED
position_flat_index: positions run on from row to row
    float[N,T] x => float[N,T] y
    $N q = Gather(s, 1) m = Mul(n, q) r = Range(0, m, 1) f = Cast<to=1>(r) e = Reshape(f, s) y = Add(x, e)
mask_by_place_and_time: a triangular mask of place against time
    float[N,T] x => float[N,T] y
    $PLACES q = Gather(s, 1) t = Range(0, q, 1) u = Unsqueeze(r, [1]) b = LessOrEqual(u, t) f = Cast<to=1>(b)
    y = Mul(x, f)
mel_matrix_of_n: a mel matrix whose sampling rate is the number of rows
    float[N,5] x => float[N,2] y
    $N m = Mul(n, 20) k = Add(m, 80) w0 = MelWeightMatrix(2, 8, k, 0.0, 40.0) y = MatMul(x, w0)
window_of_n: the sum of a window that is as long as the batch
    $N v = HannWindow(n) m = ReduceSum<keepdims=0>(v) y = Add(x, m)
window_over_rows: a window along the batch
    $N v = BlackmanWindow(n) u = Unsqueeze(v, [1]) y = Add(x, u)
limit_of_n: values are cut off at the number of rows
    $N m = Mod(n, 5) f = Cast<to=1>(m) y = Clip(x, "", f)
label_of_n (opset 20): the number of rows is written behind each text
    string[N] x => string[N] y | $N t = Cast<to=8>(n) y = StringConcat(x, t)
number_of_rows_out (seen shape): the second output is the number of rows
    float[N,4] x => float[N,4] y, int64 n | $N y = Relu(x)
places_out: the second output is each row's place
    float[N,4] x => float[N,4] y, int64[N] r | $PLACES y = Relu(x)
linear_space_rows: rows are weighted from 0 to 1
    $PLACES f = Cast<to=1>(r) d = Cast<to=1>(n) q = Div(f, d) u = Unsqueeze(q, [1]) y = Mul(x, u)
split_sizes_of_n (seen shape): the number of rows decides where columns are split
    float[N,8] x => float[N,M] y
    $N m = Mod(n, 7) a = Add(m, 1) b = Sub(8, a) k = Unsqueeze(a, [0]) l = Unsqueeze(b, [0]) z = Concat<axis=0>(k, l)
    y, v = Split<axis=1>(x, z)
resize_by_n (seen shape): the number of rows decides how far rows are stretched
    float[N,1,8] x => float[N,1,M] y
    $N e = Add(n, 7) k = Unsqueeze(e, [0]) t = Slice(s, [0], [2]) z = Concat<axis=0>(t, k)
    y = Resize<mode="linear">(x, "", "", z)
"""

CASES = read_cases(
    "mixing", _TABLE, shorthands={"ADDED": _ADDED, "COLUMN": _COLUMN}, constants={"three": np.array(3, np.uint8)}
)
