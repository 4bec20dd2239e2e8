"""Rows mix because a shape, a parameter or a statistic comes from the data of the batch."""

import numpy as np

from tests.support.rows.case import read_cases

_TABLE = """
conv_bias_of_batch: the bias of a convolution is the mean of the batch
    float[N,2,5] x => float[N,3,3] y
    m = ReduceMean<axes=[0,2], keepdims=0>(x) b = MatMul(m, w[2,3]) y = Conv(x, w[3,2,3], b)
scale_from_first_row: the scale of a normalisation is the first row
    g = Gather(x, 0) y = LayerNormalization(x, g)
parameter_from_rows (seen failure): the scale of a normalisation is the rows laid end to end
    g = Reshape(x, [-1]) y = LayerNormalization(x, g)
range_to_data (draws n=1..6; seen shape): as many columns as the largest number of the batch
    float[N,4] x, int64[N] n => float[N,M] y
    m = ReduceMax<axes=[0], keepdims=0>(n) r = Range(0, m, 1) f = Cast<to=1>(r) a = ReduceSum(x, [1]) y = Add(a, f)
tiled_by_data (draws n=1..6; seen shape): columns are repeated as often as the first row says
    float[N,4] x, int64[N] n => float[N,M] y | m = Slice(n, [0], [1]) k = Concat<axis=0>([1], m) y = Tile(x, k)
filled_to_data (draws n=1..6; seen shape): the last row says how many zeros are put behind
    float[N,4] x, int64[N] n => float[N,M] y
    m = Slice(n, [-1], [99]) s = Shape(n) k = Concat<axis=0>(s, m) z = ConstantOfShape(k) y = Concat<axis=1>(x, z)
top_k_of_first_row (draws n=1..6; seen shape): the first row says how many
    float[N,6] x, int64[N] n => float[N,M] y | k = Slice(n, [0], [1]) y, i = TopK(x, k)
column_of_first_row (draws n=0..6): the first row says which column
    float[N,6] x, int64[N] n => float[N] y | k = Gather(n, 0) y = Gather<axis=1>(x, k)
split_by_first_row (draws n=1..6; seen shape): the first row says where columns are split
    float[N,6] x, int64[N] n => float[N,M] y
    k = Slice(n, [0], [1]) l = Sub([6], k) z = Concat<axis=0>(k, l) y, v = Split<axis=1>(x, z)
shape_of_what_is_found: how much is above a half in the batch
    b = Greater(x, 0.5) i = NonZero(b) z = Size(i) f = Cast<to=1>(z) y = Add(x, f)
group_query_chunk (constants total; draws seen=5..6; seen failure): it takes several tokens for one row only
    float[N,2,16] q, float[N,2,8] k, float[N,2,8] v, float[N,1,6,8] pk, float[N,1,6,8] pv, int32[N] seen
    => float[N,2,16] y
    y, nk, nv = com.microsoft.GroupQueryAttention<num_heads=2, kv_num_heads=1>(q, k, v, pk, pv, seen, total)
training_statistics_9 (opset 9): before opset 14 five outputs mean training
    float[N,3,5] x => float[N,3,5] y | y, m, v, a, b = BatchNormalization(x, p[3], w[3], w[3], p[3])
running_mean_out (opset 15; seen shape): the second output is the mean of the batch
    float[N,3] x => float[N,3] y, float[3] m | y, m, v = BatchNormalization<training_mode=1>(x, p[3], w[3], w[3], p[3])
scale_out (seen shape): the second output is the scale of the batch
    float[N,4] x => uint8[N,4] q, float s | q, s, z = DynamicQuantizeLinear(x)
histogram (draws x=0..5): how often the row's class is in the batch, by one hot
    int64[N] x => float[N] y
    h = OneHot(x, 5, [0.0, 1.0]) c = ReduceSum<keepdims=0>(h, [0]) g = Gather(c, x) y = Sqrt(g)
embedding_bag (draws ids=0..10 bags=-1..1; opset 18): rows are words that are added up in bags
    int64[N] ids, int64[N] bags => float[N,4] y
    e = Gather(w[10,4], ids) s = Shape(e) z = ConstantOfShape(s) u = Unsqueeze(bags, [1])
    y = ScatterND<reduction="add">(z, u, e)
packed_sequences (draws start=0..2): rows are tokens of several texts, laid end to end
    float[N,4] x, int64[N] start => float[N,4] y
    c = CumSum(start, 0) u = Unsqueeze(c, [1]) v = Unsqueeze(c, [0]) e = Equal(u, v) t = Transpose(x) m = MatMul(x, t)
    a = Where(e, m, -1e9) p = Softmax(a) y = MatMul(p, x)
best_of_candidates: the share of a row's score among all candidates
    float[N,4] x => float[N,4] y, float[N] p
    h = MatMul(x, w[4,1]) q = Squeeze(h, [1]) p = Softmax<axis=0>(q) y = Relu(x)
scores_above_median: whether a row's score is in the upper half
    float[N] x => bool[N] y
    s = Shape(x) h = Div(s, [2]) k = Add(h, [1]) v, i = TopK(x, k) m = ReduceMin<keepdims=0>(v) y = GreaterOrEqual(x, m)
dedupe_by_previous: whether a row differs from the one before
    int64[N] x => bool[N] y | f = Slice(x, [0], [-1], [0]) p = Concat<axis=0>([-1], f) e = Equal(x, p) y = Not(e)
region_of_eighth_picture (draws rois=0.0..5.0; unseen 1,3,5,8): from the ninth row on, regions are of the eighth picture
    float[N,1,6,6] x, float[N,4] rois => float[N,1,2,2] y
    s = Shape(x) n = Gather(s, 0) r = Range(0, n, 1) m = Min(r, 7)
    y = RoiAlign<output_height=2, output_width=2, sampling_ratio=1>(x, rois, m)
transformation_of_first_row (opset 20; draws theta=-1.0..1.0): all pictures are turned as the first
    float[N,1,5,5] x, float[N,2,3] theta => float[N,1,5,5] y
    s = Shape(x) a = Slice(theta, [0], [1], [0]) z = Shape(theta) e = Expand(a, z) g = AffineGrid(e, s)
    y = GridSample(x, g)
reshaped_by_first_row (draws n=1|2|3|4; seen shape): the first row says how it is viewed
    float[N,12] x, int64[N] n => float[N,M,K] y
    k = Slice(n, [0], [1]) z = Concat<axis=0>([0], k, [-1]) y = Reshape(x, z)
"""

CASES = read_cases("mixing", _TABLE, constants={"total": np.array(6, np.int32)})
