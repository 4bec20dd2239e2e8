"""Rows stay apart where it looks as if they mixed."""

import numpy as np

from tests.support.rows.case import read_cases

_TABLE = """
cumsum_over_time_on_axis_0 (axes x=1 y=1): axis 0 is time
    float[T,batch,4] x => float[T,batch,4] y | y = CumSum(x, 0)
mean_over_axis_0_batch_last (axes x=1): axis 0 is features
    float[4,batch] x => float[batch] y | y = ReduceMean<axes=[0], keepdims=0>(x)
gather_first_of_axis_0 (axes x=1): the first step of time-major rows
    float[T,batch,4] x => float[batch,4] y | y = Gather(x, 0)
reverse_axis_0 (axes x=1 y=1): time-major rows are reversed in time
    float[T,batch] x => float[T,batch] y | y = Slice(x, [-1], [-9999], [0], [-1])
layer_norm_over_axis_0_transposed (axes x=1 y=1): features come first
    float[4,batch] x => float[4,batch] y | t = Transpose(x) l = LayerNormalization(t, p[4]) y = Transpose(l)
ensemble_of_three: three copies of the batch are folded, unfolded, and averaged
    float[N,4] x => float[N,2] y
    $N k = Unsqueeze(n, [0]) t = Concat<axis=0>([3], k, [4]) u = Expand(x, t) f = Reshape(u, [-1,4]) a = Tanh(f)
    z = Concat<axis=0>([3], k, [4]) v = Reshape(a, z) w0 = MatMul(v, w[3,4,2]) y = ReduceMean<axes=[0], keepdims=0>(w0)
key_padding_mask_folded: a mask is expanded over heads and folded as they are
    float[batch,T,4] x, bool[batch,T] pad => float[batch,T,4] y
    s = Shape(x) n = Slice(s, [0], [1]) t = Slice(s, [1], [2]) a = Reshape(x, [0,0,2,2])
    b = Transpose<perm=[0,2,1,3]>(a) k = Concat<axis=0>([-1], t, [2]) f = Reshape(b, k) q = Transpose<perm=[0,2,1]>(f)
    m = MatMul(f, q) u = Unsqueeze(pad, [1,2]) z = Concat<axis=0>(n, [2,1], t) e = Expand(u, z)
    h = Concat<axis=0>([-1,1], t) g = Reshape(e, h) i = Where(g, -1e9, m) p = Softmax(i) o = MatMul(p, f)
    v = Concat<axis=0>([-1,2], t, [2]) c = Reshape(o, v) d = Transpose<perm=[0,2,1,3]>(c) y = Reshape(d, s)
attention_present (axes present=1; draws x=-2.0..2.0): keys and values come out with the batch on axis 1
    float[N,T,4] x => float[N,T,4] y, float[2,N,2,T,2] present
    s = Shape(x) n = Slice(s, [0], [1]) t = Concat<axis=0>([2], n, [2,0,2]) z = ConstantOfShape(t)
    y, present = com.microsoft.Attention<num_heads=2>(x, w[4,12], w[12], "", z)
quantise_with_scales_of_rows: axis 0 has a scale for each row
    float[N,4] x => uint8[N,4] q, float[N] scale
    a = Abs(x) m = ReduceMax<axes=[1], keepdims=0>(a) e = Add(m, 0.01) scale = Div(e, 127.0)
    q = QuantizeLinear<axis=0>(x, scale)
repeated_then_every_second: two for each row, side by side, of which the second is taken
    u = Unsqueeze(x, [1]) m = Neg(u) c = Concat<axis=1>(u, m) f = Reshape(c, [-1,4]) v = Reshape(f, [-1,2,4])
    y = Gather<axis=1>(v, 1)
flatten_of_one_axis: a number for each row becomes a column
    float[N] x => float[N,1] y | y = Flatten(x)
split_2 (opset 11): sizes are an attribute
    float[N,6] x => float[N,2] y | a, b = Split<axis=1, split=[2,4]>(x) y = Tanh(a)
pairs_within_a_row: pairs of features, not of rows
    float[N,8] x => float[N,8] y
    a = Reshape(x, [-1,2]) m = ReduceMax<axes=[1]>(a) c = Sub(a, m) y = Reshape(c, [-1,8])
view_and_back: a view as [2,N] is harmless where only elements are worked on
    float[N,2,4] x => float[N,2,4] y | a = Reshape(x, [2,-1,4]) r = Relu(a) y = Reshape(r, [-1,2,4])
transposed_product: rows are columns for a while
    float[N,4] x => float[N,3] y | t = Transpose(x) m = MatMul(w[3,4], t) y = Transpose(m)
two_batch_axes_one_meaning (axes z=1): the batch is axis 0 of one input and axis 1 of another
    float[N,4] x, float[T,N,4] z => float[N,4] y | m = ReduceMean<axes=[0], keepdims=0>(z) y = Add(x, m)
shared_row_of_one (axes bias=None): an input of one row, by its fixed shape, is for all
    float[N,4] x, float[1,4] bias => float[N,4] y | y = Add(x, bias)
norm_of_folded_heads: time and heads are folded into the batch
    float[N,T,4] x => float[N,T,4] y
    s = Shape(x) f = Reshape(x, [-1,2]) m = LayerNormalization(f, p[2]) y = Reshape(m, s)
range_only_for_shape: places are made and only counted, to repeat a constant
    $N r = Range(0, n, 1) z = Shape(r) t = Concat<axis=0>(z, [4]) e = Expand(w[1,4], t) y = Add(x, e)
place_as_row_of_index (draws i=-4..4): places are used as the row of an index only
    float[N,T,4] x, int64[N] i => float[N,4] y
    $N r = Range(0, n, 1) u = Unsqueeze(r, [1]) v = Unsqueeze(i, [1]) j = Concat<axis=1>(u, v) g = GatherND(x, j)
    y = Relu(g)
same_length_of_two_inputs: rows of one input are counted on the other
    float[N,4] x, float[N,2] z => float[N,6] y
    s = Shape(z) n = Slice(s, [0], [1]) k = Concat<axis=0>(n, [4]) a = Reshape(x, k) y = Concat<axis=1>(a, z)
names_that_mislead: the batch is called time
    float[time,channel] x => float[time,channel] y | y = Softmax(x)
constant_rows_sliced_to_one: one row of a constant goes to all
    c = Slice(w[5,4], [2], [3], [0]) y = Add(x, c)
constant_expanded_and_reduced (opset 13): a repeated constant is reduced along features
    s = Shape(x) e = Expand(w[1,4], s) m = ReduceMax<axes=[1]>(e) y = Sub(x, m)
where_of_size_constant: a condition that is true for all rows
    s = Shape(x) o = ConstantOfShape<value = bool[1] {1}>(s) y = Where(o, x, 7.0)
scatter_into_zeros (constants at): columns are put at constant places
    float[N,2] x => float[N,5] y
    s = Shape(x) n = Slice(s, [0], [1]) t = Concat<axis=0>(n, [5]) z = ConstantOfShape(t) i = Expand(at, s)
    y = ScatterElements<axis=1>(z, i, x)
"""

CASES = read_cases("independent", _TABLE, constants={"at": np.array([[3, 1]])})
