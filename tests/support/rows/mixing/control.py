"""Rows mix in branches, loops and functions, or behind names that mislead."""

from tests.support.rows.case import read_cases

_TABLE = """
if_any_row: a branch is taken where any row is above 2
    m = ReduceMax<keepdims=0>(x) c = Greater(m, 2.0)
    y = If<then_branch = a () => (float[N,4] p) { p = Relu(x) },
    else_branch = b () => (float[N,4] q) { q = Identity(x) }>(c)
if_all_rows: a branch is taken where all rows are above -2
    b = Greater(x, -2.0) i = Cast<to=6>(b) m = ReduceMin<keepdims=0>(i) c = Cast<to=9>(m)
    y = If<then_branch = a () => (float[N,4] p) { p = Tanh(x) },
    else_branch = b () => (float[N,4] q) { q = Identity(x) }>(c)
if_first_row: the first row decides for all
    f = Gather(x, 0) g = Gather(f, 0) c = Greater(g, 0.0)
    y = If<then_branch = a () => (float[N,4] p) { p = Neg(x) },
    else_branch = b () => (float[N,4] q) { q = Identity(x) }>(c)
if_more_than_7 (unseen 1,3,5): both branches keep rows apart, and the number of rows chooses
    $N c = Greater(n, 7)
    y = If<then_branch = a () => (float[N,4] p) { p = Softmax(x) },
    else_branch = b () => (float[N,4] q) { q = Identity(x) }>(c)
if_more_than_7_mixes (unseen 1,3,5): the branch that mixes is taken from eight rows on
    $N c = Greater(n, 7)
    y = If<then_branch = a () => (float[N,4] p) { m = ReduceMean<axes=[0]>(x) p = Sub(x, m) },
    else_branch = b () => (float[N,4] q) { q = Identity(x) }>(c)
if_exactly_one_row: one row alone takes another branch
    $N c = Equal(n, 1)
    y = If<then_branch = a () => (float[N,4] p) { p = Identity(x) },
    else_branch = b () => (float[N,4] q) { q = Relu(x) }>(c)
if_even (unseen 1,3,5,9,17): halves of the batch meet where it is even
    $N m = Mod(n, 2) c = Equal(m, 0)
    y = If<then_branch = a () => (float[N,4] p) { r = Reshape(x, [2,-1,4]) t = ReduceMax<axes=[0], keepdims=1>(r)
    d = Add(r, t) p = Reshape(d, [-1,4]) }, else_branch = b () => (float[N,4] q) { q = Add(x, x) }>(c)
if_time_is_long (lengths T=4,48): rows mix only where time is long
    float[N,T] x => float[N,T] y
    s = Shape(x) t = Gather(s, 1) c = Greater(t, 40)
    y = If<then_branch = a () => (float[N,T] p) { p = CumSum(x, 0) },
    else_branch = b () => (float[N,T] q) { q = CumSum(x, 1) }>(c)
if_shared_flag_mixes (axes flag=None; draws flag=1..2): the caller's flag chooses the branch that mixes
    float[N,4] x, bool flag => float[N,4] y
    y = If<then_branch = a () => (float[N,4] p) { p = Softmax<axis=0>(x) },
    else_branch = b () => (float[N,4] q) { q = Softmax(x) }>(flag)
if_in_if (unseen 1,3,5,8): a branch in a branch asks for the number of rows
    $N c = Greater(n, 0) e = Less(n, 9)
    y = If<then_branch = a () => (float[N,4] p) { p = If<then_branch = d () => (float[N,4] f) { f = Relu(x) },
    else_branch = g () => (float[N,4] h) { h = Neg(x) }>(e) },
    else_branch = b () => (float[N,4] q) { q = Identity(x) }>(c)
if_squeezes_one_row (seen shape): squeeze(0): a batch of one row loses its axis
    float[N,4] x => float[M] y
    $N c = Equal(n, 1)
    y = If<then_branch = a () => (float[4] p) { p = Squeeze(x, [0]) },
    else_branch = b () => (float[N,4] q) { q = Identity(x) }>(c)
if_outer_value_mixes (constants yes): the branch reads a value from outside that is the batch's
    m = ReduceMean<axes=[0]>(x)
    y = If<then_branch = a () => (float[N,4] p) { p = Sub(x, m) },
    else_branch = b () => (float[N,4] q) { q = Identity(x) }>(yes)
if_inner_name_hides (constants yes): two branches use one name for different things
    t = Relu(x)
    y = If<then_branch = a () => (float[N,4] p) { u = CumSum(t, 0) p = Neg(u) },
    else_branch = b () => (float[N,4] q) { u = CumSum(t, 1) q = Neg(u) }>(yes)
loop_n_times (constants yes half): as many steps as there are rows
    $N y = Loop<body = step (int64 i, bool go, float[N,4] a) => (bool on, float[N,4] b) { on = Identity(go)
    b = Mul(a, half) }>(n, yes, x)
loop_until_all_done (constants yes half): steps go on until all rows are done
    y = Loop<body = step (int64 i, bool go, float[N,4] a) => (bool on, float[N,4] b) { b = Mul(a, half)
    m = ReduceMax<keepdims=0>(b) on = Greater(m, half) }>(20, yes, x)
loop_longest_length (constants yes half; draws n=1..5): as many steps as the longest row has
    float[N,4] x, int64[N] n => float[N,4] y
    m = ReduceMax<keepdims=0>(n)
    y = Loop<body = step (int64 i, bool go, float[N,4] a) => (bool on, float[N,4] b) { on = Identity(go)
    b = Mul(a, half) }>(m, yes, x)
loop_collects_until_done (constants yes half; seen shape): greedy decoding: as many tokens as the slowest row needs
    float[N] x => float[N,M] y
    e, g = Loop<body = step (int64 i, bool go, float[N] a) => (bool on, float[N] b, float[N] d) { b = Mul(a, half)
    d = Identity(b) m = ReduceMax<keepdims=0>(b) on = Greater(m, half) }>(20, yes, x) y = Transpose(g)
loop_body_mixes (constants yes): each step is centred on the batch
    y = Loop<body = step (int64 i, bool go, float[N,4] a) => (bool on, float[N,4] b) { on = Identity(go)
    m = ReduceMean<axes=[0]>(a) b = Sub(a, m) }>(2, yes, x)
loop_over_rows (constants yes): a running maximum from row to row
    $N z = Gather(x, 0)
    e, y = Loop<body = step (int64 i, bool go, float[4] a) => (bool on, float[4] b, float[4] d) { on = Identity(go)
    f = Gather(x, i) b = Max(a, f) d = Identity(b) }>(n, yes, z)
loop_adds_step_number (constants yes): a loop over rows adds the number of its step
    $N e, y = Loop<body = step (int64 i, bool go, float a) => (bool on, float b, float[4] d) { on = Identity(go)
    b = Identity(a) f = Gather(x, i) k = Cast<to=1>(i) d = Add(f, k) }>(n, yes, 0.0)
function_mixes: a function whose body mixes
    y = local.centre(x)
    def centre (x) => (y) { m = ReduceMean<axes=[0]>(x) y = Sub(x, m) }
function_attribute_is_batch: the second call names the batch axis
    float[N,T,4] x => float[N,T,4] y
    a = local.normalise<over=1>(x) y = local.normalise<over=0>(a)
    def normalise <over>(x) => (y) { y = Softmax<axis: int = @over>(x) }
function_default_is_batch: the default axis is the batch
    float[N,T,4] x => float[N,T,4] y
    a = local.normalise<over=1>(x) y = local.normalise(a)
    def normalise <over: int = 0>(x) => (y) { y = Softmax<axis: int = @over>(x) }
function_named_relu: a function has an operator's name and does something else
    y = local.Relu(x)
    def Relu (x) => (y) { z = Constant<value_int=0>() y = CumSum(x, z) }
function_nested_three_deep: the third function mixes
    y = local.outer(x)
    def inner (x) => (y) { z = Constant<value_ints=[-2]>() m = ReduceSum(x, z) y = Div(x, m) }
    def middle (x) => (y) { a = Exp(x) y = local.inner(a) }
    def outer (x) => (y) { a = Tanh(x) y = local.middle(a) }
function_of_two_used_swapped: the second argument of the function is rolled
    float[N,4] x, float[N,4] z => float[N,4] y
    y = local.shift(x, z)
    def shift (a, b) => (y) { i = Constant<value_ints=[0]>() j = Constant<value_ints=[1]>()
    k = Constant<value_ints=[9999]>() p = Slice(b, j, k, i) q = Slice(b, i, j, i) r = Concat<axis=0>(p, q)
    y = Add(a, r) }
lying_output_shape (seen shape): the declared output has a row axis, the real one has not
    t = Transpose(x) m = MatMul(t, x) y = Add(m, 1.0)
axis_named_batch_is_time: another axis is called N
    float[batch,N,4] x => float[batch,N,4] y | y = CumSum(x, 0)
constant_node_axis: the axis is a Constant node
    k = Constant<value_int=0>() y = CumSum(x, k)
constant_node_computed_axes (opset 18): axes are computed from constants
    k = Constant<value_ints=[1]>() z = Sub(k, [1]) m = ReduceMax(x, z) y = Sub(x, m)
axis_from_shape_of_constant: the axis is computed from the rank of a constant
    l = Shape(w[2,2]) z = Size(l) k = Sub(z, 2) m = CumSum(x, k) y = Neg(m)
perm_by_identity_chain: the batch moves through operators that do nothing else
    a = Identity(x) b = Dropout(a) c = Cast<to=11>(b) d = Transpose(c) e = CastLike(d, x) f = CumSum(e, 1)
    g = Transpose(f) y = Identity(g)
sequence_map_like: the last row goes first, through a sequence
    q = SplitToSequence<axis=0>(x) a = SequenceAt(q, -1) e = SequenceErase(q, -1) r = SequenceInsert(e, a, 0)
    y = ConcatFromSequence<axis=0>(r)
optional_hides: through an optional value
    m = ReduceMean<axes=[0]>(x) o = Optional(m) e = OptionalGetElement(o) y = Sub(x, e)
unnamed_axes_mean: no axis has a name
    float[?,?] x => float[?,?] y | m = ReduceMean<axes=[0]>(x) y = Sub(x, m)
"""

CASES = read_cases("mixing", _TABLE, constants={"yes": True, "half": 0.5})
