"""Rows mix only at some lengths of another free axis: odd ones, long ones, those that are no multiple of eight."""

from tests.support.rows.case import read_cases

_LENGTHS = "s = Shape(x) n = Slice(s, [0], [1]) t = Slice(s, [1], [2]) odd = Mod(t, [2]) rest = Mod(t, [8]) "
"""n and t: the number of rows and the length of time; odd: 1 where that is odd; rest: what is over a multiple of 8."""
_PLACES = _LENGTHS + "n0 = Squeeze(n, [0]) r = Range(0, n0, 1) u = Unsqueeze(r, [1]) "
"""r and u: the places of the rows, with one axis and as a column."""

_TABLE = """
rolled_if_odd (lengths T=8,13): rows move by one where time is odd
    float[N,T] x => float[N,T] y
    $LENGTHS p = Slice(x, odd, [9999999], [0]) q = Slice(x, [0], odd, [0]) y = Concat<axis=0>(p, q)
cut_if_odd (lengths T=8,13; seen shape): the first row is lost where time is odd
    float[N,T] x => float[M,T] y | $LENGTHS y = Slice(x, odd, [9223372036854775807], [0])
padded_if_odd (lengths T=8,13; seen shape): a row of zeros comes first where time is odd
    float[N,T] x => float[M,T] y | $LENGTHS p = Concat<axis=0>(odd, [0,0,0]) y = Pad(x, p)
summed_over_rows_if_odd (lengths T=8,13): the axis that is summed up is the batch where time is odd
    float[N,T] x => float[N,T] y | $LENGTHS a = Sub([1], odd) k = Squeeze(a, [0]) y = CumSum(x, k)
mean_over_rows_if_odd (lengths T=8,13; opset 18): the axis of a mean is the batch where time is odd
    float[N,T] x => float[N,T] y | $LENGTHS a = Sub([1], odd) m = ReduceMean(x, a) y = Sub(x, m)
cut_axis_if_odd (lengths T=8,13; seen shape): the axis that is cut is the batch where time is odd
    float[N,T] x => float[N,K] y | $LENGTHS a = Sub([1], odd) y = Slice(x, [1], [9999999], a)
repeated_if_long (lengths T=8,24; seen shape): rows are repeated where time is long
    float[N,T] x => float[M,T] y
    $LENGTHS e = Div(t, [20]) one = Add(e, [1]) r = Concat<axis=0>(one, [1]) y = Tile(x, r)
rolled_if_long (lengths T=8,24): rows move by one where time is long
    float[N,T] x => float[N,T] y
    $LENGTHS e = Div(t, [20]) p = Slice(x, e, [9999999], [0]) q = Slice(x, [0], e, [0]) y = Concat<axis=0>(p, q)
dft_over_rows_if_odd (opset 20; lengths T=8,13): a transform goes along the batch where time is odd
    float[N,T,2] x => float[N,T,2] y | $LENGTHS a = Sub([1], odd) k = Squeeze(a, [0]) y = DFT(x, "", k)
viewed_by_remainder (lengths T=8,12; seen failure): a row counts as longer where time is no multiple of eight
    float[N,T] x => float[N,T] y
    $LENGTHS m = Add(t, rest) k = Concat<axis=0>([-1], m) v = Reshape(x, k) c = CumSum(v, 1) y = Reshape(c, s)
flat_index_less_remainder (lengths T=8,13): indices reach into the row before where time is no multiple of eight
    float[N,T] x => float[N,T] y
    $LENGTHS f = Reshape(x, [-1]) n0 = Squeeze(n, [0]) t0 = Squeeze(t, [0]) r = Range(0, n0, 1) q = Range(0, t0, 1)
    u = Unsqueeze(r, [1]) b = Mul(u, t) c = Add(b, q) j = Sub(c, rest) y = Gather(f, j)
index_tuple_of_remainder (lengths T=8,13): an empty index picks all rows, one of one number picks the first
    float[N,T] x => float[N,T] y
    $LENGTHS m = Mul(rest, [0]) o = Min(rest, [1]) z = ConstantOfShape<value = int64[1] {0}>(o) y0 = GatherND(x, z)
    y = Add(x, y0)
unsqueezed_batch_if_odd (lengths T=7,8; seen failure): for an even time the axis that is squeezed is that of the rows
    float[N,T] x => float[N,T] y | $LENGTHS u = Unsqueeze(x, odd) v = Squeeze(u, [0]) y = Relu(v)
expanded_by_time (lengths T=8,24; seen shape): one row is repeated where time is long, two fail
    float[N,T,4] x => float[K,T,4] y
    s = Shape(x) t = Slice(s, [1], [2]) e = Div(t, [20]) one = Add(e, [1]) k = Concat<axis=0>(one, [1,1])
    y = Expand(x, k)
flat_stride_beyond_cut (lengths T=9,6): what is cut off from the eighth step on is empty in short rows
    float[N,T] x => float[N,K] y
    $PLACES a = Slice(x, [8], [9999999], [1]) c = Concat<axis=1>(a, x) m = Mul(t, [2]) l = Sub(m, [8])
    f = Reshape(c, [-1]) l0 = Squeeze(l, [0]) b = Mul(u, l) q = Range(0, l0, 1) j = Add(b, q) y = Gather(f, j)
viewed_beyond_cut (lengths T=9,6; seen failure): a view by the length that a cut would leave of long rows
    float[N,T] x => float[N,K] y
    $LENGTHS a = Slice(x, [8], [9999999], [1]) c = Concat<axis=1>(a, x) m = Mul(t, [2]) l = Sub(m, [8])
    k = Concat<axis=0>([-1], l) v = Reshape(c, k) w0 = CumSum(v, 1) z = Shape(c) y = Reshape(w0, z)
last_ten_viewed (lengths T=12,5; seen failure): the last ten steps of rows that may be shorter
    float[N,T] x => float[N,K] y
    a = Slice(x, [-10], [9999999], [1]) v = Reshape(a, [-1,10]) w0 = CumSum(v, 1) z = Shape(a) y = Reshape(w0, z)
largest_eight_viewed (lengths T=9,4; seen failure): the eight largest of rows that may be shorter
    float[N,T] x => float[N,T] y
    $LENGTHS m = Min(t, [8]) v, i = TopK(x, m) a = Reshape(v, [-1,8]) c = CumSum(a, 1) z = Shape(v) y = Reshape(c, z)
flat_stride_of_pool (lengths T=8,7): a pool rounds up, the division rounds down
    float[N,T] x => float[N,K] y
    $PLACES w0 = Unsqueeze(x, [1]) p = AveragePool<kernel_shape=[2], strides=[2], ceil_mode=1>(w0) h = Div(t, [2])
    h0 = Squeeze(h, [0]) f = Reshape(p, [-1]) b = Mul(u, h) q = Range(0, h0, 1) j = Add(b, q) y = Gather(f, j)
view_of_convolution (lengths T=8,5; seen failure): a convolution in steps of two rounds up, the division rounds down
    float[N,1,T] x => float[N,1,K] y
    s = Shape(x) t = Slice(s, [2], [3]) p = Conv<pads=[1,1], strides=[2]>(x, w[1,1,3]) h = Div(t, [2])
    k = Concat<axis=0>([-1,1], h) v = Reshape(p, k) c = CumSum(v, 2) z = Shape(p) y = Reshape(c, z)
place_less_if_long (lengths T=8,24): rows are those before where time is long
    float[N,T] x => float[N,T] y | $PLACES e = Div(t, [20]) j = Sub(r, e) y = Gather(x, j)
places_from_one_if_long (lengths T=8,24; seen shape): places begin with the second row where time is long
    float[N,T] x => float[M,T] y
    $PLACES e = Div(t, [20]) k = Squeeze(e, [0]) m = Squeeze(n, [0]) i = Range(k, m, 1) y = Gather(x, i)
places_in_steps_if_long (lengths T=8,24; seen shape): every second place where time is long
    float[N,T] x => float[M,T] y
    $PLACES e = Div(t, [20]) o = Add(e, [1]) k = Squeeze(o, [0]) m = Squeeze(n, [0]) i = Range(0, m, k) y = Gather(x, i)
"""

CASES = read_cases("mixing", _TABLE, shorthands={"LENGTHS": _LENGTHS, "PLACES": _PLACES})
