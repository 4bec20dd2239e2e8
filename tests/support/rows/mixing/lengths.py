"""Rows mix only at some lengths of another free axis: odd ones, long ones, those that are no multiple of eight."""

from tests.support.rows.case import Case, mixing

_X = "float[N,T] x => float[N,T] y"
_LENGTHS = "s = Shape(x) n = Slice(s, [0], [1]) t = Slice(s, [1], [2]) odd = Mod(t, [2]) rest = Mod(t, [8]) "
"""n and t: the number of rows and the length of time; odd: 1 where that is odd; rest: what is over a multiple of 8."""
_PLACES = _LENGTHS + "n0 = Squeeze(n, [0]) r = Range(0, n0, 1) u = Unsqueeze(r, [1]) "
"""r and u: the places of the rows, with one axis and as a column."""
_SOME = {"T": (8, 13)}

CASES: list[Case] = [
    mixing(
        "rolled_if_odd",
        _X,
        _LENGTHS + "p = Slice(x, odd, [9999999], [0]) q = Slice(x, [0], odd, [0]) y = Concat<axis=0>(p, q)",
        "rows move by one where time is odd",
        lengths=_SOME,
    ),
    mixing(
        "cut_if_odd",
        "float[N,T] x => float[M,T] y",
        _LENGTHS + "y = Slice(x, odd, [9223372036854775807], [0])",
        "the first row is lost where time is odd",
        lengths=_SOME,
        seen="shape",
    ),
    mixing(
        "padded_if_odd",
        "float[N,T] x => float[M,T] y",
        _LENGTHS + "p = Concat<axis=0>(odd, [0,0,0]) y = Pad(x, p)",
        "a row of zeros comes first where time is odd",
        lengths=_SOME,
        seen="shape",
    ),
    mixing(
        "summed_over_rows_if_odd",
        _X,
        _LENGTHS + "a = Sub([1], odd) k = Squeeze(a, [0]) y = CumSum(x, k)",
        "the axis that is summed up is the batch where time is odd",
        lengths=_SOME,
    ),
    mixing(
        "mean_over_rows_if_odd",
        _X,
        _LENGTHS + "a = Sub([1], odd) m = ReduceMean(x, a) y = Sub(x, m)",
        "the axis of a mean is the batch where time is odd",
        lengths=_SOME,
        opset=18,
    ),
    mixing(
        "cut_axis_if_odd",
        "float[N,T] x => float[N,K] y",
        _LENGTHS + "a = Sub([1], odd) y = Slice(x, [1], [9999999], a)",
        "the axis that is cut is the batch where time is odd",
        lengths=_SOME,
        seen="shape",
    ),
    mixing(
        "repeated_if_long",
        "float[N,T] x => float[M,T] y",
        _LENGTHS + "e = Div(t, [20]) one = Add(e, [1]) r = Concat<axis=0>(one, [1]) y = Tile(x, r)",
        "rows are repeated where time is long",
        lengths={"T": (8, 24)},
        seen="shape",
    ),
    mixing(
        "rolled_if_long",
        _X,
        _LENGTHS
        + "e = Div(t, [20]) p = Slice(x, e, [9999999], [0]) q = Slice(x, [0], e, [0]) y = Concat<axis=0>(p, q)",
        "rows move by one where time is long",
        lengths={"T": (8, 24)},
    ),
    mixing(
        "dft_over_rows_if_odd",
        "float[N,T,2] x => float[N,T,2] y",
        _LENGTHS + 'a = Sub([1], odd) k = Squeeze(a, [0]) y = DFT(x, "", k)',
        "a transform goes along the batch where time is odd",
        opset=20,
        lengths=_SOME,
    ),
    mixing(
        "viewed_by_remainder",
        _X,
        _LENGTHS + "m = Add(t, rest) k = Concat<axis=0>([-1], m) v = Reshape(x, k) c = CumSum(v, 1) y = Reshape(c, s)",
        "a row counts as longer where time is no multiple of eight",
        lengths={"T": (8, 12)},
        seen="failure",
    ),
    mixing(
        "flat_index_less_remainder",
        _X,
        _LENGTHS
        + "f = Reshape(x, [-1]) n0 = Squeeze(n, [0]) t0 = Squeeze(t, [0]) r = Range(0, n0, 1) q = Range(0, t0, 1) "
        "u = Unsqueeze(r, [1]) b = Mul(u, t) c = Add(b, q) j = Sub(c, rest) y = Gather(f, j)",
        "indices reach into the row before where time is no multiple of eight",
        lengths=_SOME,
    ),
    mixing(
        "index_tuple_of_remainder",
        "float[N,T] x => float[N,T] y",
        _LENGTHS
        + "m = Mul(rest, [0]) o = Min(rest, [1]) z = ConstantOfShape<value = int64[1] {0}>(o) y0 = GatherND(x, z) "
        "y = Add(x, y0)",
        "an empty index picks all rows, one of one number picks the first",
        lengths=_SOME,
    ),
    mixing(
        "unsqueezed_batch_if_odd",
        "float[N,T] x => float[N,T] y",
        _LENGTHS + "u = Unsqueeze(x, odd) v = Squeeze(u, [0]) y = Relu(v)",
        "the axis that is put and the axis that is taken are the same for odd time only: one row is squeezed away",
        lengths={"T": (7, 8)},
        seen="failure",
    ),
    mixing(
        "expanded_by_time",
        "float[N,T,4] x => float[K,T,4] y",
        "s = Shape(x) t = Slice(s, [1], [2]) e = Div(t, [20]) one = Add(e, [1]) k = Concat<axis=0>(one, [1,1]) "
        "y = Expand(x, k)",
        "one row is repeated where time is long, two fail",
        lengths={"T": (8, 24)},
        seen="shape",
    ),
    mixing(
        "flat_stride_beyond_cut",
        "float[N,T] x => float[N,K] y",
        _PLACES + "a = Slice(x, [8], [9999999], [1]) c = Concat<axis=1>(a, x) m = Mul(t, [2]) l = Sub(m, [8]) "
        "f = Reshape(c, [-1]) l0 = Squeeze(l, [0]) b = Mul(u, l) q = Range(0, l0, 1) j = Add(b, q) "
        "y = Gather(f, j)",
        "what is cut off from the eighth step on is empty where rows are short, not less than that",
        lengths={"T": (9, 6)},
    ),
    mixing(
        "viewed_beyond_cut",
        "float[N,T] x => float[N,K] y",
        _LENGTHS + "a = Slice(x, [8], [9999999], [1]) c = Concat<axis=1>(a, x) m = Mul(t, [2]) l = Sub(m, [8]) "
        "k = Concat<axis=0>([-1], l) v = Reshape(c, k) w0 = CumSum(v, 1) z = Shape(c) y = Reshape(w0, z)",
        "a view by the length that a cut would leave of long rows",
        lengths={"T": (9, 6)},
        seen="failure",
    ),
    mixing(
        "last_ten_viewed",
        "float[N,T] x => float[N,K] y",
        "a = Slice(x, [-10], [9999999], [1]) v = Reshape(a, [-1,10]) w0 = CumSum(v, 1) z = Shape(a) y = Reshape(w0, z)",
        "the last ten steps of rows that may be shorter",
        lengths={"T": (12, 5)},
        seen="failure",
    ),
    mixing(
        "largest_eight_viewed",
        _X,
        _LENGTHS + "m = Min(t, [8]) v, i = TopK(x, m) a = Reshape(v, [-1,8]) c = CumSum(a, 1) z = Shape(v) "
        "y = Reshape(c, z)",
        "the eight largest of rows that may be shorter",
        lengths={"T": (9, 4)},
        seen="failure",
    ),
    mixing(
        "flat_stride_of_pool",
        "float[N,T] x => float[N,K] y",
        _PLACES
        + "w0 = Unsqueeze(x, [1]) p = AveragePool<kernel_shape=[2], strides=[2], ceil_mode=1>(w0) h = Div(t, [2]) "
        "h0 = Squeeze(h, [0]) f = Reshape(p, [-1]) b = Mul(u, h) q = Range(0, h0, 1) j = Add(b, q) "
        "y = Gather(f, j)",
        "a pool rounds up, the division rounds down",
        lengths={"T": (8, 7)},
    ),
    mixing(
        "view_of_convolution",
        "float[N,1,T] x => float[N,1,K] y",
        "s = Shape(x) t = Slice(s, [2], [3]) p = Conv<pads=[1,1], strides=[2]>(x, w[1,1,3]) h = Div(t, [2]) "
        "k = Concat<axis=0>([-1,1], h) v = Reshape(p, k) c = CumSum(v, 2) z = Shape(p) y = Reshape(c, z)",
        "a convolution in steps of two rounds up, the division rounds down",
        lengths={"T": (8, 5)},
        seen="failure",
    ),
    mixing(
        "place_less_if_long",
        _X,
        _PLACES + "e = Div(t, [20]) j = Sub(r, e) y = Gather(x, j)",
        "rows are those before where time is long",
        lengths={"T": (8, 24)},
    ),
    mixing(
        "places_from_one_if_long",
        "float[N,T] x => float[M,T] y",
        _PLACES + "e = Div(t, [20]) k = Squeeze(e, [0]) m = Squeeze(n, [0]) i = Range(k, m, 1) y = Gather(x, i)",
        "places begin with the second row where time is long",
        lengths={"T": (8, 24)},
        seen="shape",
    ),
    mixing(
        "places_in_steps_if_long",
        "float[N,T] x => float[M,T] y",
        _PLACES + "e = Div(t, [20]) o = Add(e, [1]) k = Squeeze(o, [0]) m = Squeeze(n, [0]) i = Range(0, m, k) "
        "y = Gather(x, i)",
        "every second place where time is long",
        lengths={"T": (8, 24)},
        seen="shape",
    ),
]
