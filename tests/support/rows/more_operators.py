"""Operators whose rules are rarely asked, each where its rows are independent and where they are not."""

import numpy as np

from tests.support.rows.case import Case, independent, mixing

_BYTE = {"z": np.array(10, np.uint8)}
_PAIR = "uint8[N,4] a, uint8[N,4] b => uint8[N,8] y"

_WHERE = "k = Greater(x, 1.0) z = NonZero(k) i = Transpose<perm=[1,0]>(z) f = Reshape(k, [-1]) c = Cast<to=7>(f) "
_COUNT = "n = ReduceSum<keepdims=1>(c, [0]) "

CASES: list[Case] = [
    independent(
        "assigned_where_true",
        "float[N,4] x => float[N,4] y",
        _WHERE + _COUNT + "u = Expand(-5.0, n) y = ScatterND(x, i, u)",
        "x[x > 1] = -5: the places of all rows are listed, and all get the same",
    ),
    mixing(
        "unpooled_in_a_larger_picture",
        "float[N,1,4,4] x => float[N,1,4,5] y",
        "p, i = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) s = Shape(x) w = Add(s, [0,0,0,1]) "
        "y = MaxUnpool<kernel_shape=[2,2], strides=[2,2]>(p, i, w)",
        "the places of the second row lie in the first picture",
    ),
    mixing(
        "places_of_maxima",
        "float[N,1,4,4] x => float[N,1,2,2] y",
        "p, i = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) y = Cast<to=1>(i)",
        "they are counted over the whole batch",
    ),
    mixing(
        "assigned_one_after_the_other",
        "float[N,4] x => float[N,4] y",
        _WHERE + _COUNT + "m = Squeeze(n) r = Range(0, m, 1) u = Cast<to=1>(r) y = ScatterND(x, i, u)",
        "the places of all rows are counted, and each gets its number",
    ),
    mixing(
        "assigned_how_many_there_are",
        "float[N,4] x => float[N,4] y",
        _WHERE + _COUNT + "v = Cast<to=1>(n) u = Expand(v, n) y = ScatterND(x, i, u)",
        "each gets how many places there are",
    ),
    mixing(
        "assigned_in_the_first_rows",
        "float[N,4] x => float[N,4] y",
        _WHERE + _COUNT + "u = Expand(-5.0, n) j = Mul(i, [0, 1]) y = ScatterND(x, j, u)",
        "what is true in any row is written into the first one",
    ),
    mixing(
        "assigned_as_often_as_there_are_rows",
        "float[N,4] x => float[N,4] y",
        _WHERE + "s = Shape(x) m = Slice(s, [0], [1]) u = Expand(-5.0, m) y = ScatterND(x, i, u)",
        "it runs where there are as many places as rows, and that is no matter of a single row",
        seen="failure",
    ),
    independent(
        "qlinear_concat",
        _PAIR,
        "y = com.microsoft.QLinearConcat<axis=1>(0.1, z, a, 0.1, z, b, 0.2, z)",
        "columns of two tables",
        constants=_BYTE,
    ),
    mixing(
        "qlinear_concat_of_rows",
        "uint8[N,4] a, uint8[N,4] b => uint8[M,4] y",
        "c = com.microsoft.QLinearConcat<axis=0>(0.1, z, a, 0.1, z, b, 0.2, z) "
        "y = com.microsoft.QLinearConcat<axis=0>(0.1, z, c, 0.1, z, c, 0.1, z)",
        "batches one after the other",
        constants=_BYTE,
        seen="shape",
    ),
    independent(
        "qlinear_softmax",
        "uint8[N,4] x => uint8[N,4] y",
        "y = com.microsoft.QLinearSoftmax<axis=1, opset=13>(x, 0.05, z, 0.004, k)",
        "over the columns",
        constants={**_BYTE, "k": np.array(0, np.uint8)},
    ),
    independent(
        "qlinear_where",
        "bool[N,4] c, uint8[N,4] a, uint8[N,4] b => uint8[N,4] y",
        "y = com.microsoft.QLinearWhere(c, a, 0.1, z, b, 0.2, z, 0.1, z)",
        "one of two elements",
        constants=_BYTE,
    ),
    independent(
        "expand_dims_and_pad",
        "float[N,4] x => float[N,1,6] y",
        "u = com.microsoft.ExpandDims(x, a) y = com.microsoft.Pad(u, [0,0,1,0,0,1], 0.0)",
        "ONNX Runtime's own way to write two operators",
        constants={"a": np.array(1, np.int32)},
    ),
    mixing(
        "expand_dims_before_the_batch",
        "float[N,4] x => float[1,N,4] y",
        "u = com.microsoft.ExpandDims(x, a) y = CumSum(u, 1)",
        "the batch becomes axis 1",
        constants={"a": np.array(0, np.int32)},
        axes={"y": 1},
    ),
    independent(
        "sequence_insert_and_stack",
        "float[N,3] x => float[N,2,3] y",
        "n = Neg(x) q = SequenceConstruct(x) r = SequenceInsert(q, n, 0) y = ConcatFromSequence<axis=1, new_axis=1>(r)",
        "two tensors become a new axis",
    ),
    independent(
        "sequence_erase",
        "float[N,6] x => float[N,4] y",
        "q = SplitToSequence<axis=1>(x, [2,2,2]) r = SequenceErase(q, 1) y = ConcatFromSequence<axis=1>(r)",
        "the middle columns are left out",
    ),
    mixing(
        "sequence_stacked_on_the_batch",
        "float[N,3] x => float[M,3] y",
        "n = Neg(x) q = SequenceConstruct(x, n) y = ConcatFromSequence<axis=0>(q)",
        "a batch twice as long",
        seen="shape",
    ),
    mixing(
        "sequence_of_rows",
        "float[N,3] x => float[N,3] y",
        "q = SplitToSequence<axis=0>(x, 1) a = SequenceAt(q, 0) y = Sub(x, a)",
        "the first row, as the first part of a sequence",
    ),
    independent(
        "depth_to_space_folded",
        "float[N,4,2,2] x => float[N,1,4,4] y",
        "t = Transpose<perm=[1,0,2,3]>(x) f = Reshape(t, [1,-1,2,2]) d = DepthToSpace<blocksize=2>(f) "
        "y = Transpose<perm=[1,0,2,3]>(d)",
        "rows are channels, and blocks are the slowest of them",
    ),
    mixing(
        "depth_to_space_folded_wrongly",
        "float[N,4,2,2] x => float[N,1,4,4] y",
        "f = Reshape(x, [1,-1,2,2]) d = DepthToSpace<blocksize=2>(f) y = Transpose<perm=[1,0,2,3]>(d)",
        "a block takes its channels from four rows",
    ),
    independent(
        "space_to_depth_folded",
        "float[N,1,4,4] x => float[N,4,2,2] y",
        "t = Transpose<perm=[1,0,2,3]>(x) d = SpaceToDepth<blocksize=2>(t) r = Reshape(d, [4,-1,2,2]) "
        "y = Transpose<perm=[1,0,2,3]>(r)",
        "rows are channels, and come out once for each place of a block",
    ),
    independent(
        "quantise_each_row",
        "float[N,4] x => uint8[N,4] y",
        "a = Abs(x) m = ReduceMax<axes=[1], keepdims=0>(a) e = Add(m, 0.01) d = Div(e, 127.0) "
        "y = QuantizeLinear<axis=0>(x, d)",
        "a scale for each row",
    ),
    mixing(
        "quantise_columns_by_rows",
        "float[N,N2] x => uint8[N,N2] y",
        "a = Abs(x) m = ReduceMax<axes=[0], keepdims=0>(a) e = Add(m, 0.01) d = Div(e, 127.0) "
        "y = QuantizeLinear<axis=1>(x, d)",
        "a scale for each column, from all rows",
        lengths={"N2": (4, 5)},
    ),
]
