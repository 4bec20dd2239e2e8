"""Rows mix where it is easily overlooked: shapes that fit, indices that stay in the row, values that hide it."""

from tests.support.rows.case import among, read_cases

_RARE = among(1.0, -2.0, 3.0, 0.5, -1.5, 0.25, float("inf"))

_TABLE = """
guidance_every_second: every second row of a doubled batch: as many as there were
    m = Neg(x) c = Concat<axis=0>(x, m) y = Slice(c, [0], [9999999], [0], [2])
guidance_from_the_end: a negative cut of a doubled batch, one row too early
    $N m = Neg(x) c = Concat<axis=0>(x, m) a = Add(n, 1) b = Neg(a) k = Unsqueeze(b, [0]) y = Slice(c, k, [-1], [0])
doubled_meets_single (seen failure): a doubled batch and a single one fit for one row only
    float[N,4] x => float[M,4] y | c = Concat<axis=0>(x, x) a = Add(c, x) y = Slice(a, [0], [1], [1])
hypotheses_viewed_as_halves: two for each row, side by side, viewed as two halves
    u = Unsqueeze(x, [1]) m = Neg(u) c = Concat<axis=1>(u, m) f = Reshape(c, [-1,4]) v = Reshape(f, [2,-1,4])
    y = Gather<axis=0>(v, 0)
matmul_rank_collision (seen shape): [N,4] with [N,4,4]: each row meets each matrix
    float[N,4] x, float[N,4,4] k => float[N,M,4] y | y = MatMul(x, k)
expanded_n_times_and_summed: each row is repeated once for each row and summed
    $N u = Unsqueeze(x, [1]) k = Unsqueeze(n, [0]) t = Concat<axis=0>(k, k, [4]) e = Expand(u, t)
    y = ReduceSum<keepdims=0>(e, [1])
gather_nd_column_of_place: the row is its own, the column is its place
    float[N,8] x => float[N] y
    $PLACES c = Mod(r, 8) u = Unsqueeze(r, [1]) v = Unsqueeze(c, [1]) j = Concat<axis=1>(u, v) y = GatherND(x, j)
gather_elements_column_of_place: the column is a third of the place, in its own row
    float[N,8] x => float[N,1] y | $PLACES c = Div(r, 3) u = Unsqueeze(c, [1]) y = GatherElements<axis=1>(x, u)
flat_index_column_of_place: a flat index stays in its row, at a column that is its place
    float[N,6] x => float[N] y | $PLACES f = Reshape(x, [-1]) c = Mod(r, 6) m = Mul(r, 6) j = Add(m, c) y = Gather(f, j)
flat_index_column_of_n (unseen 1,3,5): a flat index stays in its row, at a column that depends on the number of rows
    float[N,6] x => float[N] y | $PLACES f = Reshape(x, [-1]) c = Div(n, 8) m = Mul(r, 6) j = Add(m, c) y = Gather(f, j)
scatter_column_of_place: each row writes in the column of its place
    float[N,6] x => float[N,6] y
    $PLACES c = Mod(r, 6) u = Unsqueeze(r, [1]) v = Unsqueeze(c, [1]) j = Concat<axis=1>(u, v)
    m = ReduceMax<axes=[1], keepdims=0>(x) a = Add(m, 1.0) y = ScatterND(x, j, a)
trilu_k_of_n: the number of rows chooses the diagonal
    float[N,8,8] x => float[N,8,8] y | $N m = Mod(n, 8) y = Trilu<upper=0>(x, m)
window_mask_view_swapped: masks of windows are added as if the windows came before the rows
    float[N,4,4,3] x => float[N,4,4,3] y
    s = Shape(x) f = Reshape(x, [-1,4,3]) t = Transpose<perm=[0,2,1]>(f) m = MatMul(f, t) v = Reshape(m, [4,-1,4,4])
    a = Add(v, w[4,1,4,4]) b = Reshape(a, [-1,4,4]) p = Softmax(b) o = MatMul(p, f) y = Reshape(o, s)
mask_tiled_for_heads: heads are folded as B*H, masks are tiled as H*B
    float[batch,T,4] x, float[batch,T] mask => float[batch,T,4] y
    s = Shape(x) t = Slice(s, [1], [2]) a = Reshape(x, [0,0,2,2]) b = Transpose<perm=[0,2,1,3]>(a)
    k = Concat<axis=0>([-1], t, [2]) f = Reshape(b, k) q = Transpose<perm=[0,2,1]>(f) m = MatMul(f, q)
    u = Unsqueeze(mask, [1]) z = Tile(u, [2,1,1]) e = Add(m, z) p = Softmax(e) o = MatMul(p, f)
    v = Concat<axis=0>([-1,2], t, [2]) c = Reshape(o, v) d = Transpose<perm=[0,2,1,3]>(c) y = Reshape(d, s)
position_table_cut_at_n: a table of positions for time-major rows meets batch-major ones
    float[batch,T,4] x => float[batch,T,4] y
    s = Shape(x) n = Slice(s, [0], [1]) p = Slice(w[32,1,4], [0], n, [0]) y = Add(x, p)
buffer_of_16_rows (seen failure; unseen 1,3,5,8,9): a buffer of zeros for sixteen rows: the seventeenth fails
    s = Shape(x) n = Slice(s, [0], [1]) p = Slice(zeros[16,4], [0], n, [0]) y = Sub(p, x)
table_of_16_equal_rows (seen failure; unseen 1,3,5,8,9): a table of sixteen equal entries: row seventeen fails
    $PLACES p = Gather(ones[16,4], r) y = Add(p, x)
state_of_one_row (axes x=1 h=1; seen failure): the first state is stored for one row
    float[T,batch,3] x => float[1,batch,2] h | y, h = GRU<hidden_size=2>(x, w[1,6,3], w[1,6,2], "", "", w[1,1,2])
reshape_to_one_row (seen failure): exported with a batch of one
    float[N,2,2] x => float[N,4] y | y = Reshape(x, [1,4])
reshape_to_one_long_row (seen failure): exported with a batch of one, features are what is left
    float[N,2,2] x => float[N,3] y | f = Reshape(x, [1,-1]) y = MatMul(f, w[4,3])
squeeze_batch_axis (seen failure): the batch is squeezed away and put back
    q = Squeeze(x, [0]) y = Unsqueeze(q, [0])
expand_to_one_row_by_16 (seen shape): one row becomes sixteen
    float[N,4] x => float[16,4] y | y = Expand(x, [16,4])
if_as_many_rows_as_steps (lengths T=8,9; unseen 1,3,5): rows mix where there are as many as steps
    float[N,T] x => float[N,T] y
    s = Shape(x) n = Gather(s, 0) t = Gather(s, 1) c = Equal(n, t)
    y = If<then_branch = a () => (float[N,T] p) { p = Transpose(x) },
    else_branch = b () => (float[N,T] q) { q = Identity(x) }>(c)
scaled_only_if_large: rows are scaled where any of them is large
    a = Abs(x) m = ReduceMax<keepdims=0>(a) b = Greater(m, 300.0) d = Div(x, m) y = Where(b, d, x)
n_from_shape_15: Shape with start and end takes the number of rows
    k = Shape<start=-2, end=-1>(x) f = Cast<to=1>(k) y = Div(x, f)
n_from_transposed: the second length of a transposed tensor is the number of rows
    t = Transpose(x) s = Shape(t) n = Gather(s, 1) f = Cast<to=1>(n) y = Div(x, f)
n_from_time_major (axes x=1 y=1): the second length is the number of rows
    float[T,batch,4] x => float[T,batch,4] y | s = Shape(x) n = Gather(s, 1) f = Cast<to=1>(n) y = Div(x, f)
n_from_doubled (unseen 1,3,5,8): the length of a doubled batch
    c = Concat<axis=0>(x, x) s = Shape(c) n = Gather(s, 0) h = Div(n, 18) f = Cast<to=1>(h) y = Add(x, f)
softmax_of_one_number_each: the last axis is the batch
    float[N] x => float[N] y | y = Softmax(x)
lp_norm_of_one_number_each: the default axis is the batch
    float[N] x => float[N] y | y = LpNormalization(x)
cumsum_of_one_number_each: the last axis is the batch
    float[N] x => float[N] y | y = CumSum<exclusive=1>(x, -1)
argmax_of_one_number_each: the last axis is the batch
    float[N] x => float[N] y | a = ArgMax<axis=-1>(x) f = Cast<to=1>(a) y = Add(x, f)
dft_default_axis_is_batch (opset 20): the default axis is the last but one, which is the batch
    float[N,2] x => float[N,2] y | y = DFT(x)
softmax_over_folded_heads: heads are folded into the batch, and softmax goes over both
    float[N,3,4] x => float[N,3,4] y | f = Reshape(x, [-1,4]) p = Softmax<axis=0>(f) y = Reshape(p, [-1,3,4])
cumsum_over_folded_frames: frames are folded into the batch, and the sum runs on
    float[N,3,4] x => float[N,3,4] y | f = Reshape(x, [-1,4]) p = CumSum(f, 0) y = Reshape(p, [-1,3,4])
lrn_over_folded_channels: the last channel of a row is beside the first of the next
    float[N,4,3] x => float[N,4,3] y | f = Reshape(x, [1,-1,3,1]) l = LRN<size=3, alpha=2.0>(f) y = Reshape(l, [-1,4,3])
pool_over_folded_steps: the last step of a row is beside the first of the next
    float[N,8] x => float[N,8] y
    f = Reshape(x, [1,1,-1]) p = MaxPool<kernel_shape=[3], pads=[1,1]>(f) y = Reshape(p, [-1,8])
shift_of_folded_steps: the first step of a row is the last of the row before
    float[N,6] x => float[N,6] y
    f = Reshape(x, [-1]) p = Pad(f, [1,0]) c = Slice(p, [0], [-1], [0]) y = Reshape(c, [-1,6])
roll_of_folded_steps: steps laid end to end are rolled by the length of a row
    float[N,6] x => float[N,6] y
    f = Reshape(x, [-1]) a = Slice(f, [6], [9999999], [0]) b = Slice(f, [0], [6], [0]) c = Concat<axis=0>(a, b)
    y = Reshape(c, [-1,6])
channels_of_one_picture: channels of all rows are one picture
    float[N,3,4] x => float[N,3,4] y
    t = Transpose<perm=[1,0,2]>(x) u = Unsqueeze(t, [0]) n = InstanceNormalization(u, ones[3], zeros[3])
    q = Squeeze(n, [0]) y = Transpose<perm=[1,0,2]>(q)
times_zero_mean (draws x=rare): zero times the mean of the batch, which is NaN where a row is infinite
    m = ReduceMean<axes=[0]>(x) z = Mul(m, 0.0) y = Add(x, z)
own_row_by_one_hot_product (draws x=rare): a product with the identity: zero times infinity is NaN
    t = Transpose(x) g = MatMul(x, t) z = Sub(g, g) e = EyeLike(z) y = MatMul(e, x)
"""

CASES = read_cases("mixing", _TABLE, draws={"rare": _RARE})
