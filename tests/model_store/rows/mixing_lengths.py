"""Rows mix only at some lengths of another free axis: odd ones, long ones, those that are no multiple of eight."""

from tests.model_store.rows.case import Case, mixing

_X = "float[N,T] x => float[N,T] y"
_LENGTHS = "s = Shape(x) n = Slice(s, [0], [1]) t = Slice(s, [1], [2]) odd = Mod(t, [2]) rest = Mod(t, [8]) "
"""n and t: the number of rows and the length of time; odd: 1 where that is odd; rest: what is over a multiple of 8."""
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
]
