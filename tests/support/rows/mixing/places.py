"""Rows mix because what seems to be a row's own place, or the same for all rows, is not."""

import numpy as np

from tests.support.rows.case import read_cases

_PICKED = " u = Unsqueeze(j, [1]) v = Unsqueeze(i, [1]) k = Concat<axis=1>(u, v) y = GatherND(x, k)"
"""The number in column i of row j."""

_TABLE = """
expanded_constants_wrong_order: two constants are repeated as [2,N] and read as [N,2]
    float[N,2,3] x => float[N,2,3] y
    s = Shape(x) n = Slice(s, [0], [1]) t = Concat<axis=0>([2], n, [3]) e = Expand(w[2,1,3], t) f = Reshape(e, [-1,3])
    v = Reshape(f, [-1,2,3]) y = Add(x, v)
stacked_constants_as_pairs: two constants, one repeated after the other, are read as pairs
    float[N,2,3] x => float[N,2,3] y
    s = Shape(x) n = Slice(s, [0], [1]) t = Concat<axis=0>(n, [3]) a = Expand(w[1,3], t) b = Expand(w[1,3], t)
    c = Concat<axis=0>(a, b) v = Reshape(c, [-1,2,3]) y = Add(x, v)
index_by_truncated_division: a division of negative numbers rounds up, so all but the first row read the row before
    float[N,2] x => float[N] y
    $PLACES f = Reshape(x, [-1]) m = Mul(r, 6) a = Sub(1, m) d = Div(a, 3) j = Sub(0, d) y = Gather(f, j)
remainder_with_sign: a remainder has the sign of what is divided: the first row's is another
    $PLACES m = Mul(r, 6) a = Sub(1, m) g = Mod<fmod=1>(a, 3) f = Cast<to=1>(g) u = Unsqueeze(f, [1]) y = Add(x, u)
place_cast_to_truth (draws i=0..4): as a truth value a place is 0 or 1
    float[N,4] x, int64[N] i => float[N] y | $PLACES b = Cast<to=9>(r) j = Cast<to=7>(b) $PICKED
place_cast_to_byte (draws i=0..4): in a byte the fourth place is 0 again
    float[N,4] x, int64[N] i => float[N] y
    $PLACES m = Mul(r, 64) b = Cast<to=2>(m) c = Cast<to=7>(b) j = Div(c, 64) $PICKED
place_less_a_half (draws i=0..4): a place less a half is cut to the place before
    float[N,4] x, int64[N] i => float[N] y | $PLACES f = Cast<to=1>(r) h = Sub(f, 0.5) j = Cast<to=7>(h) $PICKED
place_padded: a column of zeros beside the places picks the first row for all
    float[N] x => float[N,2] y | $PLACES u = Unsqueeze(r, [1]) p = Pad(u, [0,0,0,1]) y = Gather(x, p)
place_times_itself (draws i=0..4): squares of places
    float[N,4] x, int64[N] i => float[N] y | $PLACES q = Mul(r, r) m = Sub(n, 1) j = Min(q, m) $PICKED
selector_without_its_row (draws i=-1..1): the row's number is cut off the index
    float[N,4,3] x, int64[N] i => float[N,3] y
    $PLACES u = Unsqueeze(r, [1]) v = Unsqueeze(i, [1]) k = Concat<axis=1>(u, v, v) c = Slice(k, [1], [3], [1])
    d = Slice(c, [0], [1], [1]) y = GatherND(x, d)
selector_in_another_order (draws i=0..1): the column of the index is used for the row too
    float[N,4] x, int64[N] i => float[N] y
    $PLACES u = Unsqueeze(r, [1]) v = Unsqueeze(i, [1]) k = Concat<axis=1>(u, v) c = Gather<axis=1>(k, [1,1])
    y = GatherND(x, c)
size_in_bytes (seen shape; unseen 1,3,5): forty times seven does not fit a byte
    float[N,4] x => float[M,4] y
    s = Shape(x) n = Slice(s, [0], [1]) m = Mul(n, [40]) b = Cast<to=2>(m) c = Cast<to=7>(b) k = Div(c, [40])
    y = Slice(x, [0], k, [0])
size_in_32_bits (constants big; unseen 1,3,5): the product does not fit 32 bits from six rows on
    $N c = Cast<to=6>(n) m = Mul(c, big) d = Div(m, big) z = Cast<to=7>(d) e = Sub(z, n) f = Cast<to=1>(e) y = Add(x, f)
dropout_of_constant (constants yes): what is dropped of a constant is drawn anew in each run
    d = Dropout(ones[1,4], 0.5, yes) y = Mul(x, d)
flat_stride_clamped (lengths T=8,24): the length of a row counts as 20 at most
    float[N,T] x => float[N,T] y
    $N t = Gather(s, 1) m = Min(t, 20) f = Reshape(x, [-1]) r = Range(0, n, 1) u = Unsqueeze(r, [1]) b = Mul(u, m)
    q = Range(0, t, 1) j = Add(b, q) y = Gather(f, j)
flat_stride_rounded (lengths T=8,13): the length of a row counts as a multiple of eight
    float[N,T] x => float[N,T] y
    $N t = Gather(s, 1) e = Div(t, 8) m = Mul(e, 8) f = Reshape(x, [-1]) r = Range(0, n, 1) u = Unsqueeze(r, [1])
    b = Mul(u, m) q = Range(0, t, 1) j = Add(b, q) y = Gather(f, j)
flat_stride_floor_for_ceil (lengths T=8,7): every second of seven is four, the half of seven is three
    float[N,T] x => float[N,M] y
    $N t = Gather(s, 1) z = Slice(x, [0], [9999], [1], [2]) h = Div(t, 2) f = Reshape(z, [-1]) r = Range(0, n, 1)
    u = Unsqueeze(r, [1]) b = Mul(u, h) q = Range(0, h, 1) j = Add(b, q) y = Gather(f, j)
view_floor_for_ceil (lengths T=8,5; seen failure): every second of five is three, the half of five is two
    float[N,T] x => float[N,M] y
    s = Shape(x) t = Slice(s, [1], [2]) z = Slice(x, [0], [9999], [1], [2]) h = Div(t, [2]) k = Concat<axis=0>([-1], h)
    a = Reshape(z, k) c = CumSum(a, 1) d = Shape(z) y = Reshape(c, d)
cut_at_8_then_viewed (lengths T=9,4; seen failure): the first eight steps of rows that may be shorter
    float[N,T] x => float[M,8] y | z = Slice(x, [0], [8], [1]) a = Reshape(z, [-1,8]) y = CumSum(a, 1)
cut_at_8_then_folded (lengths T=9,8): the first eight numbers are the first row's where rows are long
    float[N,T] x => float[N,8] y
    z = Slice(x, [0], [8], [1]) f = Reshape(z, [-1]) q = Slice(f, [0], [8], [0]) k = ReduceMax(q) y = Sub(z, k)
flat_index_negative_if_short (lengths T=8,4): six before the end of a row is in the row before where rows are short
    float[N,T] x => float[N] y
    $PLACES t = Gather(s, 1) f = Reshape(x, [-1]) m = Mul(r, t) o = Sub(t, 6) j = Add(m, o) y = Gather(f, j)
branch_for_short_rows_views (lengths T=12,4; seen failure): short rows are viewed as if they were eight long
    float[N,T] x => float[N,T] y
    s = Shape(x) t = Gather(s, 1) c = Greater(t, 10)
    y = If<then_branch = a () => (float[N,T] p) { p = Relu(x) },
    else_branch = b () => (float[N,T] q) { v = Reshape(x, [-1,8]) w0 = CumSum(v, 1) q = Reshape(w0, s) }>(c)
scan_of_data_lengths (draws x=0..2; seen failure): each row gives its nonzero numbers; all must give equally many
    int64[N,4] x => int64[N,1,M] y
    g, y = Scan<num_scan_inputs=1, body = step (int64[1] a, int64[4] b) => (int64[1] c, int64[1,M] d) { c = Identity(a)
    d = NonZero(b) }>([0], x)
embed_position_is_place (draws ids=0..10): the position of all words of a row is the row's place
    int32[N,3] ids => float[N,3,4] y
    s = Shape(ids) n = Gather(s, 0) r = Range(0, n, 1) c = Cast<to=6>(r) u = Unsqueeze(c, [1]) p0 = Expand(u, s)
    y, m = com.microsoft.EmbedLayerNormalization<epsilon=0.01>(ids, "", w[10,4], w[32,4], "", p[4], w[4], "", p0)
embed_position_of_n (draws ids=0..10; unseen 1,3,5): the position of all words depends on the number of rows
    int32[N,3] ids => float[N,3,4] y
    s = Shape(ids) n = Gather(s, 0) e = Div(n, 8) c = Cast<to=6>(e) p0 = Expand(c, [1,3])
    y, m = com.microsoft.EmbedLayerNormalization<epsilon=0.01>(ids, "", w[10,4], w[32,4], "", p[4], w[4], "", p0)
scan_body_reads_batch: the body of a Scan over rows reads the whole batch from outside
    g, y = Scan<num_scan_inputs=1, body = step (float[1] a, float[4] b) => (float[1] c, float[4] d) { c = Identity(a)
    m = ReduceMean<axes=[0], keepdims=0>(x) d = Sub(b, m) }>(zeros[1], x)
loop_reads_batch (constants yes): the body of a Loop on a constant reads the whole batch from outside
    l = Loop<body = step (int64 i, bool go, float[1,4] a) => (bool on, float[1,4] b) { on = Identity(go)
    m = ReduceMean<axes=[0]>(x) b = Add(a, m) }>(2, yes, zeros[1,4]) y = Sub(x, l)
constant_stacked_before_rows: a repeated constant and the rows behind it are read as pairs
    s = Shape(x) e = Expand(w[1,4], s) c = Concat<axis=0>(e, x) v = Reshape(c, [-1,2,4]) y = Gather<axis=1>(v, 1)
"""

CASES = read_cases(
    "mixing", _TABLE, shorthands={"PICKED": _PICKED}, constants={"big": np.int32(400000000), "yes": True}
)
