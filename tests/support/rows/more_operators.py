"""Rarely used operators, each with independent and with mixing rows."""

import numpy as np

from tests.support.rows.case import read_cases

_WHERE = "k = Greater(x, 1.0) z = NonZero(k) i = Transpose<perm=[1,0]>(z) f = Reshape(k, [-1]) c = Cast<to=7>(f) "
_COUNT = "n = ReduceSum<keepdims=1>(c, [0]) "

_INDEPENDENT = """
assigned_where_true: x[x > 1] = -5: the places of all rows are listed, and all get the same
    $WHERE $COUNT u = Expand(-5.0, n) y = ScatterND(x, i, u)
qlinear_concat (constants z): columns of two tables
    uint8[N,4] a, uint8[N,4] b => uint8[N,8] y | y = com.microsoft.QLinearConcat<axis=1>(0.1, z, a, 0.1, z, b, 0.2, z)
qlinear_softmax (constants z k): over the columns
    uint8[N,4] x => uint8[N,4] y | y = com.microsoft.QLinearSoftmax<axis=1, opset=13>(x, 0.05, z, 0.004, k)
qlinear_where (constants z): one of two elements
    bool[N,4] c, uint8[N,4] a, uint8[N,4] b => uint8[N,4] y
    y = com.microsoft.QLinearWhere(c, a, 0.1, z, b, 0.2, z, 0.1, z)
expand_dims_and_pad (constants a): ONNX Runtime's own way to write two operators
    float[N,4] x => float[N,1,6] y | u = com.microsoft.ExpandDims(x, a) y = com.microsoft.Pad(u, [0,0,1,0,0,1], 0.0)
sequence_insert_and_stack: two tensors become a new axis
    float[N,3] x => float[N,2,3] y
    n = Neg(x) q = SequenceConstruct(x) r = SequenceInsert(q, n, 0) y = ConcatFromSequence<axis=1, new_axis=1>(r)
sequence_erase: the middle columns are left out
    float[N,6] x => float[N,4] y
    q = SplitToSequence<axis=1>(x, [2,2,2]) r = SequenceErase(q, 1) y = ConcatFromSequence<axis=1>(r)
depth_to_space_folded: rows are channels, and blocks are the slowest of them
    float[N,4,2,2] x => float[N,1,4,4] y
    t = Transpose<perm=[1,0,2,3]>(x) f = Reshape(t, [1,-1,2,2]) d = DepthToSpace<blocksize=2>(f)
    y = Transpose<perm=[1,0,2,3]>(d)
space_to_depth_folded: rows are channels, and come out once for each place of a block
    float[N,1,4,4] x => float[N,4,2,2] y
    t = Transpose<perm=[1,0,2,3]>(x) d = SpaceToDepth<blocksize=2>(t) r = Reshape(d, [4,-1,2,2])
    y = Transpose<perm=[1,0,2,3]>(r)
"""

_MIXING = """
unpooled_in_a_larger_picture: the places of the second row lie in the first picture
    float[N,1,4,4] x => float[N,1,4,5] y
    p, i = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) s = Shape(x) w = Add(s, [0,0,0,1])
    y = MaxUnpool<kernel_shape=[2,2], strides=[2,2]>(p, i, w)
places_of_maxima: they are counted over the whole batch
    float[N,1,4,4] x => float[N,1,2,2] y | p, i = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) y = Cast<to=1>(i)
assigned_one_after_the_other: the places of all rows are counted, and each gets its number
    $WHERE $COUNT m = Squeeze(n) r = Range(0, m, 1) u = Cast<to=1>(r) y = ScatterND(x, i, u)
assigned_how_many_there_are: each gets how many places there are
    $WHERE $COUNT v = Cast<to=1>(n) u = Expand(v, n) y = ScatterND(x, i, u)
assigned_in_the_first_rows: what is true in any row is written into the first one
    $WHERE $COUNT u = Expand(-5.0, n) j = Mul(i, [0, 1]) y = ScatterND(x, j, u)
assigned_as_often_as_there_are_rows (seen failure): it runs only where there are as many places as rows
    $WHERE s = Shape(x) m = Slice(s, [0], [1]) u = Expand(-5.0, m) y = ScatterND(x, i, u)
qlinear_concat_of_rows (constants z; seen shape): batches one after the other
    uint8[N,4] a, uint8[N,4] b => uint8[M,4] y
    c = com.microsoft.QLinearConcat<axis=0>(0.1, z, a, 0.1, z, b, 0.2, z)
    y = com.microsoft.QLinearConcat<axis=0>(0.1, z, c, 0.1, z, c, 0.1, z)
sequence_stacked_on_the_batch (seen shape): a batch twice as long
    float[N,3] x => float[M,3] y | n = Neg(x) q = SequenceConstruct(x, n) y = ConcatFromSequence<axis=0>(q)
sequence_of_rows: the first row, as the first part of a sequence
    float[N,3] x => float[N,3] y | q = SplitToSequence<axis=0>(x, 1) a = SequenceAt(q, 0) y = Sub(x, a)
expand_dims_before_the_batch (constants a0; axes y=1): the batch becomes axis 1
    float[N,4] x => float[1,N,4] y | u = com.microsoft.ExpandDims(x, a0) y = CumSum(u, 1)
quantise_columns_by_rows (lengths N2=4,5): a scale for each column, from all rows
    float[N,N2] x => uint8[N,N2] y
    a = Abs(x) m = ReduceMax<axes=[0], keepdims=0>(a) e = Add(m, 0.01) d = Div(e, 127.0)
    y = QuantizeLinear<axis=1>(x, d)
"""

_SHORTHANDS = {"COUNT": _COUNT, "WHERE": _WHERE}
_CONSTANTS = {
    "z": np.array(10, np.uint8),
    "k": np.array(0, np.uint8),
    "a": np.array(1, np.int32),
    "a0": np.array(0, np.int32),
}
CASES = [
    *read_cases("independent", _INDEPENDENT, _SHORTHANDS, _CONSTANTS),
    *read_cases("mixing", _MIXING, _SHORTHANDS, _CONSTANTS),
]
