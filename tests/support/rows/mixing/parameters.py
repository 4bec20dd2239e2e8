"""Rows mix because a parameter of an operator depends on the number of rows, which shows from eight rows on only."""

from tests.support.rows.case import read_cases

_EIGHTHS = "s = Shape(x) n = Slice(s, [0], [1]) e = Div(n, [8]) one = Add(e, [1]) k = Squeeze(e, [0]) "
"""e and k: a whole division that is 0 below eight rows, with one axis and without; one: it plus 1."""

_TABLE = """
slice_start (seen shape; unseen 1,3,5): where columns begin
    float[N,6] x => float[N,M] y | $EIGHTHS y = Slice(x, e, [99], [1])
slice_end (seen shape; unseen 1,3,5): where columns end, counted from the end
    float[N,6] x => float[N,M] y | $EIGHTHS m = Sub(e, [1]) y = Slice(x, [0], m, [1])
slice_window (unseen 1,3,5): which two columns
    float[N,6] x => float[N,2] y | $EIGHTHS m = Add(e, [2]) y = Slice(x, e, m, [1])
slice_step (seen shape; unseen 1,3,5): how many columns are stepped over
    float[N,6] x => float[N,M] y | $EIGHTHS y = Slice(x, [0], [99], [1], one)
slice_axis (seen shape; unseen 1,3,5): which axis is cut
    float[N,6,6] x => float[N,M,K] y | $EIGHTHS c = Min(one, [2]) y = Slice(x, [1], [99], c)
pad_columns (seen shape; unseen 1,3,5): how many columns are put before
    float[N,6] x => float[N,M] y | $EIGHTHS p = Concat<axis=0>([0], e, [0,0]) y = Pad(x, p)
pad_and_cut (unseen 1,3,5): how far columns are shifted
    float[N,6] x => float[N,6] y
    $EIGHTHS p = Concat<axis=0>([0], e, [0,0]) w0 = Pad(x, p) y = Slice(w0, [0], [6], [1])
pad_value (unseen 1,3,5): what is put before
    float[N,6] x => float[N,M] y | $EIGHTHS f = Cast<to=1>(k) y = Pad(x, [0,1,0,0], f)
tile_repeats (seen shape; unseen 1,3,5): how often columns are repeated
    float[N,6] x => float[N,M] y | $EIGHTHS r = Concat<axis=0>([1], one) y = Tile(x, r)
expand_length (seen shape; unseen 1,3,5): how often a column is repeated
    float[N,1] x => float[N,M] y | $EIGHTHS r = Concat<axis=0>([1], one) y = Expand(x, r)
fill_length (seen shape; unseen 1,3,5): how many zeros are put behind
    float[N,4] x => float[N,M] y | $EIGHTHS r = Concat<axis=0>(n, one) z = ConstantOfShape(r) y = Concat<axis=1>(x, z)
reshape_length (sizes 1,3,5,8,9; seen shape; unseen 1,3,5): how a row is viewed
    float[N,12] x => float[N,M,K] y | $EIGHTHS r = Concat<axis=0>([0], one, [-1]) y = Reshape(x, r)
top_k (seen shape; unseen 1,3,5): how many are taken
    float[N,6] x => float[N,M] y | $EIGHTHS y, i = TopK(x, one)
split_lengths (seen shape; unseen 1,3,5): where columns are split
    float[N,6] x => float[N,M] y | $EIGHTHS r = Sub([6], one) z = Concat<axis=0>(one, r) y, v = Split<axis=1>(x, z)
one_hot_depth (draws x=0..5; seen shape; unseen 1,3,5): how many classes there are
    int64[N] x => float[N,M] y | $EIGHTHS d = Add(e, [5]) y = OneHot(x, d, [0.0,1.0])
one_hot_value (draws x=0..5; unseen 1,3,5): what stands for a class
    int64[N] x => float[N,5] y
    $EIGHTHS f = Cast<to=1>(e) o = Add(f, 1.0) v = Concat<axis=0>([0.0], o) y = OneHot(x, 5, v)
cumsum_axis (unseen 1,3,5): which axis is summed up
    float[N,3,4] x => float[N,3,4] y | $EIGHTHS c = Min(one, [2]) a = Squeeze(c, [0]) y = CumSum(x, a)
reduce_axis (unseen 1,3,5): which axis is summed
    float[N,4,4] x => float[N,4] y | $EIGHTHS c = Min(one, [2]) y = ReduceSum<keepdims=0>(x, c)
reduce_axis_reaches_rows (unseen 1,3,5): the summed axis is the batch from eight rows on
    float[N,3,4] x => float[N,3,4] y | $EIGHTHS c = Min(e, [1]) a = Sub([1], c) m = ReduceSum(x, a) y = Sub(x, m)
unsqueeze_axis (seen shape; unseen 1,3,5): where an axis is put
    float[N,4] x => float[N,M,K] y | $EIGHTHS c = Min(one, [2]) y = Unsqueeze(x, c)
trilu_diagonal (unseen 1,3,5): which diagonal
    float[N,4,4] x => float[N,4,4] y | $EIGHTHS y = Trilu<upper=0>(x, k)
gather_column (unseen 1,3,5): which column
    float[N,6] x => float[N] y | $EIGHTHS y = Gather<axis=1>(x, k)
gather_elements_column (unseen 1,3,5): which column, by an index for each row
    float[N,6] x => float[N,1] y | $EIGHTHS r = Concat<axis=0>(n, [1]) i = Expand(e, r) y = GatherElements<axis=1>(x, i)
scatter_column (unseen 1,3,5): which column is written
    float[N,6] x => float[N,6] y
    $EIGHTHS r = Concat<axis=0>(n, [1]) i = Expand(e, r) v = ReduceMax<axes=[1]>(x) a = Add(v, 1.0)
    y = ScatterElements<axis=1>(x, i, a)
table_entry (unseen 1,3,5): which entry of a table
    $EIGHTHS g = Gather(w[4,4], k) y = Add(x, g)
resize_length (seen shape; unseen 1,3,5): how far rows are stretched
    float[N,1,6] x => float[N,1,M] y
    $EIGHTHS l = Add(e, [6]) b = Slice(s, [0], [2]) t = Concat<axis=0>(b, l) y = Resize<mode="linear">(x, "", "", t)
resize_scale (seen shape; unseen 1,3,5): how many times rows are stretched
    float[N,1,6] x => float[N,1,M] y
    $EIGHTHS f = Cast<to=1>(one) t = Concat<axis=0>([1.0,1.0], f) y = Resize<mode="nearest">(x, "", t)
clip_limit (unseen 1,3,5): the lower limit
    $EIGHTHS f = Cast<to=1>(k) y = Clip(x, f)
power (unseen 1,3,5): the power
    $EIGHTHS a = Abs(x) f = Cast<to=1>(one) y = Pow(a, f)
loop_steps (constants yes half; unseen 1,3,5): how many steps
    $EIGHTHS m = Squeeze(one, [0])
    y = Loop<body = step (int64 i, bool go, float[N,4] a) => (bool on, float[N,4] b) { on = Identity(go)
    b = Mul(a, half) }>(m, yes, x)
quantise_zero (draws x=-4.0..4.0; unseen 1,3,5): the zero of a quantisation
    float[N,4] x => int8[N,4] y | $EIGHTHS z = Cast<to=3>(k) y = QuantizeLinear(x, 0.5, z)
dropout_ratio (unseen 1,3,5): dropout drops from eight rows on
    $EIGHTHS c = Min(k, 1) b = Cast<to=9>(c) y = Dropout(x, 0.5, b)
crop_length (opset 18; seen shape; unseen 1,3,5): how many columns of the middle are kept
    float[N,6] x => float[N,M] y | $EIGHTHS m = Sub([4], e) y = CenterCropPad<axes=[1]>(x, m)
dft_length (seen shape; unseen 1,3,5): how long a transform is
    float[N,8,1] x => float[N,M,2] y | $EIGHTHS l = Add(k, 8) y = DFT<axis=1>(x, l)
sequence_at (unseen 1,3,5): which column of a sequence
    $EIGHTHS q = SplitToSequence<axis=1>(x) y0 = SequenceAt(q, k) y = Add(x, y0)
rnn_length (axes x=1 h=1; unseen 1,3,5): how many steps each row has
    float[T,batch,3] x => float[1,batch,2] h
    s = Shape(x) n = Slice(s, [1], [2]) e = Div(n, [8]) c = Min(e, [2]) l = Sub([4], c) i = Cast<to=6>(l)
    b = Expand(i, n) y, h = RNN<hidden_size=2>(x, w[1,2,3], w[1,2,2], "", b)
rotary_start (unseen 1,3,5): at which position all rows start
    float[N,2,4] x => float[N,2,4] y | $EIGHTHS y = com.microsoft.RotaryEmbedding(x, e, w[16,2], w[16,2])
range_length (seen shape; unseen 1,3,5): how many columns a range gives
    float[N,4] x => float[N,M] y
    $EIGHTHS m = Squeeze(one, [0]) r = Range(0, m, 1) f = Cast<to=1>(r) a = ReduceSum(x, [1]) y = Add(a, f)
window_length (unseen 1,3,5): how long a window is
    $EIGHTHS l = Add(k, 4) h = HannWindow(l) v = Slice(h, [0], [4]) y = Mul(x, v)
roll_columns (unseen 1,3,5): how far columns are rolled
    $EIGHTHS a = Slice(x, e, [99], [1]) b = Slice(x, [0], e, [1]) y = Concat<axis=1>(a, b)
part_of_sequence (unseen 1,3,5): which part of a sequence
    $EIGHTHS m = Neg(x) q = SequenceConstruct(x, m) c = Min(k, 1) y = SequenceAt(q, c)
grid_size (opset 20; draws theta=-1.0..1.0; seen shape; unseen 1,3,5): how large a grid is
    float[N,1,5,5] x, float[N,2,3] theta => float[N,1,K,5] y
    $EIGHTHS h = Add(e, [5]) z = Concat<axis=0>(n, [1], h, [5]) g = AffineGrid(theta, z) y = GridSample(x, g)
cache_place (opset 24; unseen 1,3,5): where in the cache a step is written
    float[N,2] x, float[N,8,2] cache => float[N,8,2] y
    $EIGHTHS i = Expand(e, n) u = Unsqueeze(x, [1]) y = TensorScatter<axis=1>(cache, u, i)
quantise_scale (unseen 1,3,5): the scale of a quantisation
    float[N,4] x => int8[N,4] y
    $EIGHTHS f = Cast<to=1>(k) g = Add(f, 0.5) z = Cast<to=3>(0) y = QuantizeLinear(x, g, z)
optional_number (unseen 1,3,5): a number that goes through an optional value
    $EIGHTHS o = Optional(k) g = OptionalGetElement(o) f = Cast<to=1>(g) y = Add(x, f)
"""

CASES = read_cases("mixing", _TABLE, shorthands={"EIGHTHS": _EIGHTHS}, constants={"yes": True, "half": 0.5})
