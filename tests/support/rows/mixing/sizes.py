"""Rows mix because the size of the batch, or a row's place in it, reaches what they give."""

import numpy as np

from tests.support.rows.case import Case, mixing

_X = "float[N,4] x => float[N,4] y"
_XT = "float[N,T] x => float[N,T] y"

_N = "s = Shape(x) n = Gather(s, 0) "
"""n: the number of rows."""
_PLACES = _N + "r = Range(0, n, 1) "
"""r: the places 0 to n - 1."""
_COLUMN = " f = Cast<to=1>(g) u = Unsqueeze(f, [1]) y = Add(x, u)"
"""A number for each row, g, is added to it."""
_ADDED = " f = Cast<to=1>(g) y = Add(x, f)"
"""A number, g, is added to all."""
_LOW = (1, 3, 5)

CASES: list[Case] = [
    mixing("divided_by_n", _X, _N + "f = Cast<to=1>(n) y = Div(x, f)", "each row is divided by the number of rows"),
    mixing("size_over_constant", _X, "z = Size(x) g = Div(z, 4)" + _ADDED, "the number of rows comes from Size"),
    mixing(
        "product_of_shape",
        _X,
        "s = Shape(x) g = ReduceProd<keepdims=0>(s)" + _ADDED,
        "the number of rows comes from the product of the shape",
    ),
    mixing(
        "counted_ones",
        _X,
        "s = Shape(x) k = Slice(s, [0], [1]) o = ConstantOfShape<value = float[1] {1.0}>(k) "
        "g = ReduceSum<keepdims=0>(o)" + _ADDED,
        "the number of rows is counted on a constant",
    ),
    mixing(
        "counted_nonzero",
        _X,
        "s = Shape(x) k = Slice(s, [0], [1]) o = ConstantOfShape<value = int64[1] {1}>(k) i = NonZero(o) "
        "t = Shape(i) g = Gather(t, 1)" + _ADDED,
        "the number of rows is the length of NonZero of ones",
    ),
    mixing(
        "counted_by_sequence",
        _X,
        "q = SplitToSequence<axis=0>(x) g = SequenceLength(q)" + _ADDED,
        "the number of rows is the length of a sequence",
    ),
    mixing(
        "last_place", _X, _PLACES + "g = ReduceMax<keepdims=0>(r)" + _ADDED, "the number of rows is the largest place"
    ),
    mixing(
        "counted_by_matmul",
        _X,
        "s = Shape(x) o = Slice(s, [0], [1]) k = Concat<axis=0>([4], o) l = Concat<axis=0>(o, [4]) "
        "a = ConstantOfShape<value = float[1] {1.0}>(k) b = ConstantOfShape<value = float[1] {1.0}>(l) "
        "m = MatMul(a, b) y = MatMul(x, m)",
        "a weight of ones whose entries are the number of rows",
    ),
    mixing("add_place", _X, _PLACES + "g = Identity(r)" + _COLUMN, "each row's place is added to it"),
    mixing(
        "place_by_cumsum",
        _X,
        "s = Shape(x) k = Slice(s, [0], [1]) o = ConstantOfShape<value = int64[1] {1}>(k) g = CumSum(o, 0)" + _COLUMN,
        "a running sum of ones is the place",
    ),
    mixing("place_parity", _X, _PLACES + "g = Mod(r, 2)" + _COLUMN, "every second row is another"),
    mixing(
        "place_embedding",
        _X,
        _PLACES + "m = Mod(r, 16) e = Gather(w[16,4], m) y = Add(x, e)",
        "the table of positions is read along the batch",
    ),
    mixing(
        "place_sinus",
        _X,
        _PLACES + "f = Cast<to=1>(r) u = Unsqueeze(f, [1]) a = Mul(u, p[1,4]) p0 = Sin(a) y = Add(x, p0)",
        "a sine of the place along the batch",
    ),
    mixing("place_from_the_end", _X, _PLACES + "g = Sub(n, r)" + _COLUMN, "rows count down"),
    mixing(
        "places_above_7",
        _X,
        _PLACES + "b = Greater(r, 7) g = Cast<to=7>(b)" + _COLUMN,
        "only from the ninth row on",
        unseen=(1, 3, 5, 8),
    ),
    mixing(
        "places_divided_by_6",
        _X,
        _PLACES + "g = Div(r, 6)" + _COLUMN,
        "a whole division that is 0 for the first six rows",
        unseen=_LOW,
    ),
    mixing(
        "place_shifted_right",
        "uint8[N,4] x => uint8[N,4] y",
        _PLACES
        + 'h = Cast<to=2>(r) t = BitShift<direction="RIGHT">(h, three) u = Unsqueeze(t, [1]) y = BitwiseXor(x, u)',
        "bits of the place above the third",
        opset=18,
        constants={"three": np.array(3, np.uint8)},
        unseen=(1, 3, 5, 8),
    ),
    mixing(
        "n_above_7",
        _X,
        _N + "b = Greater(n, 7) y0 = Neg(x) y = Where(b, y0, x)",
        "another answer for more than seven rows",
        unseen=_LOW,
    ),
    mixing(
        "n_above_16",
        _X,
        _N + "b = Greater(n, 16) g = Cast<to=7>(b)" + _ADDED,
        "another answer for more than sixteen rows",
        unseen=(1, 3, 5, 8, 9),
    ),
    mixing(
        "max_16",
        _X,
        _N + "g = Max(n, 16)" + _ADDED,
        "the larger of the number of rows and 16",
        opset=13,
        unseen=(1, 3, 5, 8, 9),
    ),
    mixing("min_6", _X, _N + "g = Min(n, 6)" + _ADDED, "the smaller of the number of rows and 6", opset=12),
    mixing(
        "n_divided_by_8", _X, _N + "g = Div(n, 8)" + _ADDED, "a whole division that is 0 below eight rows", unseen=_LOW
    ),
    mixing(
        "n_even",
        _X,
        _N + "m = Mod(n, 2) g = Sub(1, m)" + _ADDED,
        "another answer for an even number of rows",
        unseen=_LOW,
    ),
    mixing("n_is_1", _X, _N + "b = Equal(n, 1) y0 = Tanh(x) y = Where(b, x, y0)", "one row alone is spared"),
    mixing(
        "n_is_17",
        _X,
        _N + "b = Equal(n, 17) y0 = Tanh(x) y = Where(b, y0, x)",
        "another answer for exactly 17 rows",
        unseen=(1, 2, 3, 5, 8, 9, 24),
    ),
    mixing(
        "pairs_only_if_even",
        _X,
        _N + "m = Mod(n, 2) g = Sub(2, m) h = Div(n, g) k = Unsqueeze(h, [0]) l = Unsqueeze(g, [0]) "
        "t = Concat<axis=0>(k, l, [4]) a = Reshape(x, t) c = ReduceMax<axes=[1]>(a) d = Add(a, c) "
        "y = Reshape(d, s)",
        "pairs of rows share a maximum where the number of rows is even",
        unseen=(1, 3, 5, 9, 17),
    ),
    mixing(
        "two_groups_from_12",
        _X,
        _N + "g = Div(n, 12) o = Add(g, 1) h = Div(n, o) m = Mul(h, o) k = Unsqueeze(m, [0]) "
        "l = Unsqueeze(o, [0]) q = Div(k, l) t = Concat<axis=0>(l, q, [4]) e = Slice(x, [0], k, [0]) "
        "a = Reshape(e, t) c = CumSum(a, 0) y = Reshape(c, [-1,4])",
        "two groups of rows from twelve rows on",
        seen="values",
        unseen=_LOW,
    ),
    mixing(
        "rolled_from_8",
        _X,
        _N + "g = Div(n, 8) k = Unsqueeze(g, [0]) p = Slice(x, k, [999], [0]) q = Slice(x, [0], k, [0]) "
        "y = Concat<axis=0>(p, q)",
        "rows move by one for each eight of them",
        unseen=_LOW,
    ),
    mixing(
        "rows_lost_from_8",
        "float[N,4] x => float[M,4] y",
        _N + "g = Div(n, 8) k = Unsqueeze(g, [0]) y = Slice(x, k, [999], [0])",
        "the first row is lost from eight rows on",
        seen="shape",
        unseen=_LOW,
    ),
    mixing(
        "padded_to_4",
        "float[N,4] x => float[M,4] y",
        _N + "a = Add(n, 3) b = Div(a, 4) c = Mul(b, 4) d = Sub(c, n) u = Unsqueeze(d, [0]) "
        "k = Concat<axis=0>([0,0], u, [0]) y = Pad(x, k)",
        "zero rows up to a multiple of four",
        seen="shape",
    ),
    mixing(
        "halves_swapped",
        _X,
        _N + "h = Div(n, 2) e = Sub(n, h) k = Unsqueeze(h, [0]) l = Unsqueeze(e, [0]) z = Concat<axis=0>(k, l) "
        "a, b = Split<axis=0>(x, z) y = Concat<axis=0>(b, a)",
        "the halves of the batch change places",
    ),
    mixing(
        "one_hot_of_n",
        "int64[N] x => float[N,M] y",
        "s = Shape(x) a = Abs(x) y = OneHot(a, s, [0.0, 1.0])",
        "as many classes as there are rows",
        seen="shape",
    ),
    mixing(
        "one_hot_of_place",
        _X,
        _PLACES + "h = OneHot(r, 4, [0.0, 1.0]) y = Add(x, h)",
        "the first four rows have a place each",
    ),
    mixing(
        "one_hot_of_place_from_8",
        _X,
        _PLACES + "e = Sub(r, 12) h = OneHot<axis=-1>(e, 4, [0.0, 1.0]) y = Add(x, h)",
        "negative places count from the end, below -4 they are nothing",
        unseen=_LOW,
    ),
    mixing(
        "table_row_of_n",
        _X,
        _N + "m = Mod(n, 5) e = Gather(w[5,4], m) y = Add(x, e)",
        "a table is read at the number of rows",
    ),
    mixing(
        "expand_flag",
        _X,
        _N + "b = Greater(n, 7) f = Cast<to=1>(b) k = Unsqueeze(n, [0]) t = Concat<axis=0>(k, [1]) "
        "e = Expand(f, t) y = Add(x, e)",
        "the same number for each row, which changes from eight rows on",
        unseen=_LOW,
    ),
    mixing(
        "fill_value_of_n",
        _X,
        _N + "f = Cast<to=1>(n) k = Unsqueeze(n, [0]) t = Concat<axis=0>(k, [4]) z = ConstantOfShape(t) "
        "e = Add(z, f) y = Max(x, e)",
        "a filled tensor whose value is the number of rows",
    ),
    mixing(
        "columns_from_n",
        "float[N,8] x => float[N,M] y",
        _N + "m = Mod(n, 8) a = Add(m, 1) e = Unsqueeze(a, [0]) y = Slice(x, [0], e, [1])",
        "as many columns as rows",
        seen="shape",
    ),
    mixing(
        "column_of_n",
        "float[N,8] x => float[N] y",
        _N + "m = Mod(n, 8) y = Gather<axis=1>(x, m)",
        "the column is chosen by the number of rows",
    ),
    mixing(
        "column_of_n_8",
        "float[N,8] x => float[N] y",
        _N + "m = Div(n, 8) y = Gather<axis=1>(x, m)",
        "another column from eight rows on",
        unseen=_LOW,
    ),
    mixing(
        "top_n",
        "float[N,30] x => float[N,M] y",
        "s = Shape(x) k = Slice(s, [0], [1]) y, i = TopK(x, k)",
        "as many values as rows",
        seen="shape",
    ),
    mixing(
        "tiled_n_times",
        _X,
        "s = Shape(x) k = Slice(s, [0], [1]) r = Concat<axis=0>([1], k) t = Tile(x, r) z = ReduceSum(t, [1]) "
        "y = Sub(x, z)",
        "columns are repeated as often as there are rows, and summed",
    ),
    mixing(
        "cumsum_length_of_n",
        _XT,
        _N + "q = Gather(s, 1) d = Sub(n, q) g = Max(d, 0)" + _ADDED,
        "more rows than columns",
        lengths={"T": (6, 9)},
        unseen=_LOW,
    ),
    mixing(
        "range_start_of_n",
        _X,
        _N + "r = Range(n, 100, 7) g = ReduceMin<keepdims=0>(r)" + _ADDED,
        "a range starts at the number of rows",
    ),
    mixing(
        "position_flat_index",
        "float[N,T] x => float[N,T] y",
        _N + "q = Gather(s, 1) m = Mul(n, q) r = Range(0, m, 1) f = Cast<to=1>(r) e = Reshape(f, s) y = Add(x, e)",
        "positions run on from row to row",
    ),
    mixing(
        "mask_by_place_and_time",
        _XT,
        _PLACES + "q = Gather(s, 1) t = Range(0, q, 1) u = Unsqueeze(r, [1]) b = LessOrEqual(u, t) f = Cast<to=1>(b) "
        "y = Mul(x, f)",
        "a triangular mask of place against time",
    ),
    mixing(
        "mel_matrix_of_n",
        "float[N,5] x => float[N,2] y",
        _N + "m = Mul(n, 20) k = Add(m, 80) w0 = MelWeightMatrix(2, 8, k, 0.0, 40.0) y = MatMul(x, w0)",
        "a mel matrix whose sampling rate is the number of rows",
    ),
    mixing(
        "window_of_n",
        _X,
        _N + "v = HannWindow(n) m = ReduceSum<keepdims=0>(v) y = Add(x, m)",
        "the sum of a window that is as long as the batch",
    ),
    mixing(
        "window_over_rows",
        _X,
        _N + "v = BlackmanWindow(n) u = Unsqueeze(v, [1]) y = Add(x, u)",
        "a window along the batch",
    ),
    mixing(
        "limit_of_n",
        _X,
        _N + 'm = Mod(n, 5) f = Cast<to=1>(m) y = Clip(x, "", f)',
        "values are cut off at the number of rows",
    ),
    mixing(
        "label_of_n",
        "string[N] x => string[N] y",
        _N + "t = Cast<to=8>(n) y = StringConcat(x, t)",
        "the number of rows is written behind each text",
        opset=20,
    ),
    mixing(
        "number_of_rows_out",
        "float[N,4] x => float[N,4] y, int64 n",
        _N + "y = Relu(x)",
        "the second output is the number of rows",
        seen="shape",
    ),
    mixing(
        "places_out",
        "float[N,4] x => float[N,4] y, int64[N] r",
        _PLACES + "y = Relu(x)",
        "the second output is each row's place",
    ),
    mixing(
        "linear_space_rows",
        _X,
        _PLACES + "f = Cast<to=1>(r) d = Cast<to=1>(n) q = Div(f, d) u = Unsqueeze(q, [1]) y = Mul(x, u)",
        "rows are weighted from 0 to 1",
    ),
    mixing(
        "split_sizes_of_n",
        "float[N,8] x => float[N,M] y",
        _N + "m = Mod(n, 7) a = Add(m, 1) b = Sub(8, a) k = Unsqueeze(a, [0]) l = Unsqueeze(b, [0]) "
        "z = Concat<axis=0>(k, l) y, v = Split<axis=1>(x, z)",
        "the number of rows decides where columns are split",
        seen="shape",
    ),
    mixing(
        "resize_by_n",
        "float[N,1,8] x => float[N,1,M] y",
        _N + "e = Add(n, 7) k = Unsqueeze(e, [0]) t = Slice(s, [0], [2]) z = Concat<axis=0>(t, k) "
        'y = Resize<mode="linear">(x, "", "", z)',
        "the number of rows decides how far rows are stretched",
        seen="shape",
    ),
]
