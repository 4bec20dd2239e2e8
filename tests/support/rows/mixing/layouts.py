"""Rows mix in how they are laid out: reshapes, transposes, products, broadcasts."""

from tests.support.rows.case import Case, mixing

_X = "float[N,4] x => float[N,4] y"
_IMAGE = "float[N,4,6,6] x => float[N,4,6,6] y"

CASES: list[Case] = [
    mixing(
        "gram_matrix",
        "float[N,4] x => float[N,M] y",
        "t = Transpose(x) y = MatMul(x, t)",
        "each row meets each other",
        seen="shape",
    ),
    mixing(
        "gemm_trans_b",
        "float[N,4] x => float[N,M] y",
        "y = Gemm<transB=1>(x, x)",
        "each row meets each other, in Gemm",
        seen="shape",
    ),
    mixing(
        "einsum_outer",
        "float[N,4] x => float[N,M] y",
        'y = Einsum<equation="bi,ci->bc">(x, x)',
        "two names for the batch",
        seen="shape",
    ),
    mixing(
        "einsum_contracts",
        "float[N,4] x => float[4,4] y",
        'y = Einsum<equation="bi,bj->ij">(x, x)',
        "the batch is summed",
        seen="shape",
    ),
    mixing("einsum_mean_again", _X, 'm = Einsum<equation="bi->i">(x) y = Sub(x, m)', "a sum over the batch by einsum"),
    mixing(
        "einsum_implicit",
        "float[N,4] x => float[4,5] y",
        'g = MatMul(x, w[4,5]) y = Einsum<equation="ki,kj">(x, g)',
        "no arrow: what stands twice is summed",
        seen="shape",
    ),
    mixing(
        "ones_times_rows",
        _X,
        "s = Shape(x) n = Slice(s, [0], [1]) k = Concat<axis=0>([1], n) "
        "o = ConstantOfShape<value = float[1] {1.0}>(k) m = MatMul(o, x) y = Sub(x, m)",
        "a sum of the rows as a product with ones",
    ),
    mixing(
        "dot_over_rows",
        "float[N] x => float[N] y",
        "d = MatMul(x, x) y = Div(x, d)",
        "a product of two 1-D tensors is over the batch",
    ),
    mixing(
        "column_meets_row",
        "float[N,1] x => float[N,M] y",
        "t = Transpose(x) y = Sub(x, t)",
        "[N,1] with [1,N]",
        seen="shape",
    ),
    mixing(
        "two_inputs_cross",
        "float[N,4] x, float[N,4] z => float[N,4] y",
        "a = Unsqueeze(x, [1]) b = Unsqueeze(z, [0]) d = Sub(a, b) q = Abs(d) y = ReduceMin<axes=[1], keepdims=0>(q)",
        "the nearest row of another input",
    ),
    mixing(
        "vector_on_last_axis",
        "float[N,T] x, float[N] z => float[N,T] y",
        "y = Add(x, z)",
        "a number for each row is added to the columns",
        lengths={"T": (5, 1)},
        sizes=(1, 5),
        seen="values",
    ),
    mixing(
        "batch_rank_collision",
        "float[N,1,4] x, float[N,4] z => float[N,M,4] y",
        "y = Mul(x, z)",
        "[N,1,4] with [N,4] gives [N,N,4]",
        seen="shape",
    ),
    mixing(
        "pairs_mean",
        _X,
        "a = Reshape(x, [-1,2,4]) m = ReduceMean<axes=[1], keepdims=1>(a) c = Sub(a, m) y = Reshape(c, [-1,4])",
        "pairs of rows, which fails for an odd number",
        seen="failure",
    ),
    mixing(
        "pairs_flattened",
        "float[N,4] x => float[M,8] y",
        "y = Reshape(x, [-1,8])",
        "two rows become one",
        seen="failure",
    ),
    mixing(
        "clips_of_8_frames",
        "float[N,4] x => float[N,4] y",
        "v = Reshape(x, [-1,8,4]) a = Slice(v, [0], [1], [1]) b = Slice(v, [0], [7], [1]) "
        "s = Concat<axis=1>(a, b) y = Reshape(s, [-1,4])",
        "temporal shift: eight rows are one clip",
        sizes=(1, 8, 24),
        seen="failure",
    ),
    mixing(
        "swap_view",
        _X,
        "s = Shape(x) r = Gather(s, [1,0]) a = Reshape(x, r) b = Softmax<axis=1>(a) y = Reshape(b, s)",
        "[N,4] is viewed as [4,N], not transposed",
    ),
    mixing(
        "swap_view_minus_one",
        _X,
        "a = Reshape(x, [4,-1]) y = Transpose(a)",
        "[N,4] is viewed as [4,N] and then transposed",
    ),
    mixing(
        "swap_view_copies",
        "float[N,1,4] x => float[N,1,4] y",
        "a = Reshape(x, [4,1,-1]) c = Relu(a) d = CumSum(c, 2) s = Shape(x) y = Reshape(d, s)",
        "a view with the batch last",
    ),
    mixing(
        "flatten_0",
        "float[N,4] x => float[N,4] y",
        "f = Flatten<axis=0>(x) s = Softmax(f) y = Reshape(s, [-1,4])",
        "flattened into one row",
    ),
    mixing(
        "flatten_negative",
        "float[N,T,4] x => float[N,T,4] y",
        "f = Flatten<axis=-3>(x) s = Softmax(f) n = Shape(x) y = Reshape(s, n)",
        "flattened into one row by a negative axis",
    ),
    mixing(
        "one_long_row",
        "float[N,4] x => float[N,4] y",
        "f = Reshape(x, [-1]) c = CumSum(f, 0) y = Reshape(c, [-1,4])",
        "a running sum over the rows laid end to end",
    ),
    mixing(
        "merged_conv1d",
        "float[N,4] x => float[N,4] y",
        "f = Reshape(x, [1,1,-1]) c = Conv<pads=[1,1]>(f, w[1,1,3]) y = Reshape(c, [-1,4])",
        "a convolution over the rows laid end to end",
    ),
    mixing(
        "heads_first_back_wrong",
        "float[N,T,6] x => float[N,T,6] y",
        "a = Reshape(x, [0,0,2,3]) b = Transpose<perm=[2,0,1,3]>(a) s = Shape(x) y = Reshape(b, s)",
        "heads are put before the batch and not brought back",
    ),
    mixing(
        "depth_to_space_of_rows",
        "float[N,4,2,2] x => float[N,1,4,4] y",
        "f = Reshape(x, [1,-1,2,2]) d = DepthToSpace<blocksize=2>(f) y = Transpose<perm=[1,0,2,3]>(d)",
        "rows are channels, and blocks are the slowest of them",
    ),
    mixing(
        "space_to_depth_rows",
        "float[N,2] x => float[N,2] y",
        "u = Unsqueeze(x, [0,1]) y0 = SpaceToDepth<blocksize=2>(u) y = Reshape(y0, [-1,2])",
        "pairs of rows become channels",
        seen="failure",
    ),
    mixing(
        "trilu_rows", "float[N,4] x => float[N,4] y", "y = Trilu<upper=0>(x)", "a row's place decides what is cut off"
    ),
    mixing(
        "causal_over_rows",
        _X,
        "t = Transpose(x) a = MatMul(x, t) c = Trilu<upper=0>(a) y = MatMul(c, x)",
        "causal attention over the batch",
    ),
    mixing("eye_like", _X, "e = EyeLike(x) y = Add(x, e)", "a row's place decides where a one is added"),
    mixing(
        "eye_like_shifted", _X, "e = EyeLike<k=-6>(x) y = Add(x, e)", "only from the seventh row on", unseen=(1, 3, 5)
    ),
    mixing(
        "squeeze_all",
        "float[N,1,4] x => float[N,4] y",
        "y = Squeeze(x)",
        "a batch of one row loses its axis",
        seen="shape",
    ),
    mixing(
        "two_rows_each",
        "float[N,4] x => float[M,2] y",
        "y = Reshape(x, [-1,2])",
        "two rows come out for each",
        seen="shape",
    ),
    mixing(
        "swapped_then_softmax",
        "float[N,3,4] x => float[N,3,4] y",
        "t = Transpose<perm=[2,1,0]>(x) s = Softmax<axis=2>(t) y = Transpose<perm=[2,1,0]>(s)",
        "the batch is moved to the last axis",
    ),
    mixing(
        "constant_per_place",
        "float[N,4] x => float[N,4] y",
        "y = Add(x, w[3,4])",
        "a constant of three rows: one row gives three",
        seen="shape",
    ),
    mixing(
        "windows_back_wrong",
        _IMAGE,
        "a = Reshape(x, [-1,4,2,3,2,3]) b = Transpose<perm=[2,4,0,1,3,5]>(a) v = Reshape(b, [-1,4,3,3]) "
        "g = Mul(v, w[4,3,3]) c = Reshape(g, [-1,2,2,4,3,3]) d = Transpose<perm=[0,3,1,4,2,5]>(c) "
        "y = Reshape(d, [-1,4,6,6])",
        "windows are put before the batch and read as after it",
    ),
    mixing(
        "copied_lengths_hide_view",
        "float[N,2,4] x => float[N,2,4] y",
        "a = Reshape(x, [0,-1]) b = Reshape(a, [2,-1,4]) c = Transpose<perm=[1,0,2]>(b) y = Neg(c)",
        "copied lengths hide that [N,8] is viewed as [2,N,4]",
    ),
    mixing(
        "identity_by_gram",
        "float[N,4] x => float[N,4] y",
        "t = Transpose(x) u = MatMul(x, t) m = ReduceMax<axes=[1], keepdims=1>(u) y = Div(x, m)",
        "the largest product with any row",
    ),
    mixing(
        "col2im_rows",
        "float[N,4] x => float[1,1,2,5] y",
        "t = Transpose(x) u = Unsqueeze(t, [0]) y = Col2Im(u, [2,5], [2,2])",
        "rows are the places of a patch",
        opset=18,
        sizes=(1, 4, 8),
        seen="failure",
    ),
]
