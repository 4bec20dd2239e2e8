"""Rows mix in how they are laid out: reshapes, transposes, products, broadcasts."""

from tests.support.rows.case import read_cases

_TABLE = """
gram_matrix (seen shape): each row meets each other
    float[N,4] x => float[N,M] y | t = Transpose(x) y = MatMul(x, t)
gemm_trans_b (seen shape): each row meets each other, in Gemm
    float[N,4] x => float[N,M] y | y = Gemm<transB=1>(x, x)
einsum_outer (seen shape): two names for the batch
    float[N,4] x => float[N,M] y | y = Einsum<equation="bi,ci->bc">(x, x)
einsum_contracts (seen shape): the batch is summed
    float[N,4] x => float[4,4] y | y = Einsum<equation="bi,bj->ij">(x, x)
einsum_mean_again: a sum over the batch by einsum
    m = Einsum<equation="bi->i">(x) y = Sub(x, m)
einsum_implicit (seen shape): no arrow: what stands twice is summed
    float[N,4] x => float[4,5] y | g = MatMul(x, w[4,5]) y = Einsum<equation="ki,kj">(x, g)
ones_times_rows: a sum of the rows as a product with ones
    s = Shape(x) n = Slice(s, [0], [1]) k = Concat<axis=0>([1], n) o = ConstantOfShape<value = float[1] {1.0}>(k)
    m = MatMul(o, x) y = Sub(x, m)
dot_over_rows: a product of two 1-D tensors is over the batch
    float[N] x => float[N] y | d = MatMul(x, x) y = Div(x, d)
column_meets_row (seen shape): [N,1] with [1,N]
    float[N,1] x => float[N,M] y | t = Transpose(x) y = Sub(x, t)
two_inputs_cross: the nearest row of another input
    float[N,4] x, float[N,4] z => float[N,4] y
    a = Unsqueeze(x, [1]) b = Unsqueeze(z, [0]) d = Sub(a, b) q = Abs(d) y = ReduceMin<axes=[1], keepdims=0>(q)
vector_on_last_axis (lengths T=5,1; sizes 1,5; seen values): a number for each row is added to the columns
    float[N,T] x, float[N] z => float[N,T] y | y = Add(x, z)
batch_rank_collision (seen shape): [N,1,4] with [N,4] gives [N,N,4]
    float[N,1,4] x, float[N,4] z => float[N,M,4] y | y = Mul(x, z)
pairs_mean (seen failure): pairs of rows, which fails for an odd number
    a = Reshape(x, [-1,2,4]) m = ReduceMean<axes=[1], keepdims=1>(a) c = Sub(a, m) y = Reshape(c, [-1,4])
pairs_flattened (seen failure): two rows become one
    float[N,4] x => float[M,8] y | y = Reshape(x, [-1,8])
clips_of_8_frames (sizes 1,8,24; seen failure): temporal shift: eight rows are one clip
    v = Reshape(x, [-1,8,4]) a = Slice(v, [0], [1], [1]) b = Slice(v, [0], [7], [1]) s = Concat<axis=1>(a, b)
    y = Reshape(s, [-1,4])
swap_view: [N,4] is viewed as [4,N], not transposed
    s = Shape(x) r = Gather(s, [1,0]) a = Reshape(x, r) b = Softmax<axis=1>(a) y = Reshape(b, s)
swap_view_minus_one: [N,4] is viewed as [4,N] and then transposed
    a = Reshape(x, [4,-1]) y = Transpose(a)
swap_view_copies: a view with the batch last
    float[N,1,4] x => float[N,1,4] y
    a = Reshape(x, [4,1,-1]) c = Relu(a) d = CumSum(c, 2) s = Shape(x) y = Reshape(d, s)
flatten_0: flattened into one row
    f = Flatten<axis=0>(x) s = Softmax(f) y = Reshape(s, [-1,4])
flatten_negative: flattened into one row by a negative axis
    float[N,T,4] x => float[N,T,4] y | f = Flatten<axis=-3>(x) s = Softmax(f) n = Shape(x) y = Reshape(s, n)
merged_conv1d: a convolution over the rows laid end to end
    f = Reshape(x, [1,1,-1]) c = Conv<pads=[1,1]>(f, w[1,1,3]) y = Reshape(c, [-1,4])
heads_first_back_wrong: heads are put before the batch and not brought back
    float[N,T,6] x => float[N,T,6] y
    a = Reshape(x, [0,0,2,3]) b = Transpose<perm=[2,0,1,3]>(a) s = Shape(x) y = Reshape(b, s)
depth_to_space_of_rows: rows are channels, and blocks are the slowest of them
    float[N,4,2,2] x => float[N,1,4,4] y
    f = Reshape(x, [1,-1,2,2]) d = DepthToSpace<blocksize=2>(f) y = Transpose<perm=[1,0,2,3]>(d)
space_to_depth_rows (seen failure): pairs of rows become channels
    float[N,2] x => float[N,2] y | u = Unsqueeze(x, [0,1]) y0 = SpaceToDepth<blocksize=2>(u) y = Reshape(y0, [-1,2])
trilu_rows: a row's place decides what is cut off
    y = Trilu<upper=0>(x)
causal_over_rows: causal attention over the batch
    t = Transpose(x) a = MatMul(x, t) c = Trilu<upper=0>(a) y = MatMul(c, x)
eye_like: a row's place decides where a one is added
    e = EyeLike(x) y = Add(x, e)
eye_like_shifted (unseen 1,3,5): only from the seventh row on
    e = EyeLike<k=-6>(x) y = Add(x, e)
squeeze_all (seen shape): a batch of one row loses its axis
    float[N,1,4] x => float[N,4] y | y = Squeeze(x)
two_rows_each (seen shape): two rows come out for each
    float[N,4] x => float[M,2] y | y = Reshape(x, [-1,2])
swapped_then_softmax: the batch is moved to the last axis
    float[N,3,4] x => float[N,3,4] y
    t = Transpose<perm=[2,1,0]>(x) s = Softmax<axis=2>(t) y = Transpose<perm=[2,1,0]>(s)
constant_per_place (seen shape): a constant of three rows: one row gives three
    y = Add(x, w[3,4])
windows_back_wrong: windows are put before the batch and read as after it
    float[N,4,6,6] x => float[N,4,6,6] y
    a = Reshape(x, [-1,4,2,3,2,3]) b = Transpose<perm=[2,4,0,1,3,5]>(a) v = Reshape(b, [-1,4,3,3]) g = Mul(v, w[4,3,3])
    c = Reshape(g, [-1,2,2,4,3,3]) d = Transpose<perm=[0,3,1,4,2,5]>(c) y = Reshape(d, [-1,4,6,6])
copied_lengths_hide_view: copied lengths hide that [N,8] is viewed as [2,N,4]
    float[N,2,4] x => float[N,2,4] y
    a = Reshape(x, [0,-1]) b = Reshape(a, [2,-1,4]) c = Transpose<perm=[1,0,2]>(b) y = Neg(c)
identity_by_gram: the largest product with any row
    t = Transpose(x) u = MatMul(x, t) m = ReduceMax<axes=[1], keepdims=1>(u) y = Div(x, m)
col2im_rows (opset 18; sizes 1,4,8; seen failure): rows are the places of a patch
    float[N,4] x => float[1,1,2,5] y | t = Transpose(x) u = Unsqueeze(t, [0]) y = Col2Im(u, [2,5], [2,2])
"""

CASES = read_cases("mixing", _TABLE)
