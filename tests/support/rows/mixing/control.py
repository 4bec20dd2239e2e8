"""Rows mix in branches, loops and functions, or behind names that mislead."""

from tests.support.rows.case import Case, between, mixing

_X = "float[N,4] x => float[N,4] y"
_N = "s = Shape(x) n = Gather(s, 0) "
_LOW = (1, 3, 5)


def _choose(then: str, otherwise: str, condition: str = "c", shape: str = "float[N,4]") -> str:
    """An If whose branches give ``p`` and ``q``."""
    return (
        f" y = If<then_branch = a () => ({shape} p) {{ {then} }}, "
        f"else_branch = b () => ({shape} q) {{ {otherwise} }}>({condition})"
    )


CASES: list[Case] = [
    mixing(
        "if_any_row",
        _X,
        "m = ReduceMax<keepdims=0>(x) c = Greater(m, 2.0)" + _choose("p = Relu(x)", "q = Identity(x)"),
        "a branch is taken where any row is above 2",
    ),
    mixing(
        "if_all_rows",
        _X,
        "b = Greater(x, -2.0) i = Cast<to=6>(b) m = ReduceMin<keepdims=0>(i) c = Cast<to=9>(m)"
        + _choose("p = Tanh(x)", "q = Identity(x)"),
        "a branch is taken where all rows are above -2",
    ),
    mixing(
        "if_first_row",
        _X,
        "f = Gather(x, 0) g = Gather(f, 0) c = Greater(g, 0.0)" + _choose("p = Neg(x)", "q = Identity(x)"),
        "the first row decides for all",
    ),
    mixing(
        "if_more_than_7",
        _X,
        _N + "c = Greater(n, 7)" + _choose("p = Softmax(x)", "q = Identity(x)"),
        "both branches keep rows apart, and the number of rows chooses",
        unseen=_LOW,
    ),
    mixing(
        "if_more_than_7_mixes",
        _X,
        _N + "c = Greater(n, 7)" + _choose("m = ReduceMean<axes=[0]>(x) p = Sub(x, m)", "q = Identity(x)"),
        "the branch that mixes is taken from eight rows on",
        unseen=_LOW,
    ),
    mixing(
        "if_exactly_one_row",
        "float[N,4] x => float[N,4] y",
        _N + "c = Equal(n, 1)" + _choose("p = Identity(x)", "q = Relu(x)"),
        "one row alone takes another branch",
    ),
    mixing(
        "if_even",
        _X,
        _N
        + "m = Mod(n, 2) c = Equal(m, 0)"
        + _choose(
            "r = Reshape(x, [2,-1,4]) t = ReduceMax<axes=[0], keepdims=1>(r) d = Add(r, t) p = Reshape(d, [-1,4])",
            "q = Add(x, x)",
        ),
        "halves of the batch meet where it is even",
        unseen=(1, 3, 5, 9, 17),
    ),
    mixing(
        "if_time_is_long",
        "float[N,T] x => float[N,T] y",
        "s = Shape(x) t = Gather(s, 1) c = Greater(t, 40)"
        + _choose("p = CumSum(x, 0)", "q = CumSum(x, 1)", shape="float[N,T]"),
        "rows mix only where time is long",
        lengths={"T": (4, 48)},
    ),
    mixing(
        "if_shared_flag_mixes",
        "float[N,4] x, bool flag => float[N,4] y",
        _choose("p = Softmax<axis=0>(x)", "q = Softmax(x)", condition="flag"),
        "the caller's flag chooses the branch that mixes",
        axes={"flag": None},
        draws={"flag": between(1, 2)},
    ),
    mixing(
        "if_in_if",
        _X,
        _N
        + "c = Greater(n, 0) e = Less(n, 9)"
        + _choose(
            "p = If<then_branch = d () => (float[N,4] f) { f = Relu(x) }, else_branch = g () => (float[N,4] h) "
            "{ h = Neg(x) }>(e)",
            "q = Identity(x)",
        ),
        "a branch in a branch asks for the number of rows",
        unseen=(1, 3, 5, 8),
    ),
    mixing(
        "if_squeezes_one_row",
        "float[N,4] x => float[M] y",
        _N + "c = Equal(n, 1) "
        "y = If<then_branch = a () => (float[4] p) { p = Squeeze(x, [0]) }, else_branch = b () "
        "=> (float[N,4] q) { q = Identity(x) }>(c)",
        "squeeze(0): a batch of one row loses its axis",
        seen="shape",
    ),
    mixing(
        "if_outer_value_mixes",
        _X,
        "m = ReduceMean<axes=[0]>(x)" + _choose("p = Sub(x, m)", "q = Identity(x)", condition="yes"),
        "the branch reads a value from outside that is the batch's",
        constants={"yes": True},
    ),
    mixing(
        "if_inner_name_hides",
        _X,
        "t = Relu(x) y = If<then_branch = a () => (float[N,4] p) { u = CumSum(t, 0) "
        "p = Neg(u) }, else_branch = b () => (float[N,4] q) { u = CumSum(t, 1) q = Neg(u) }>(yes)",
        "two branches use one name for different things",
        constants={"yes": True},
    ),
    mixing(
        "loop_n_times",
        _X,
        _N + "y = Loop<body = step (int64 i, bool go, float[N,4] a) => (bool on, float[N,4] b) { on = Identity(go) "
        "b = Mul(a, half) }>(n, yes, x)",
        "as many steps as there are rows",
        constants={"yes": True, "half": 0.5},
    ),
    mixing(
        "loop_until_all_done",
        _X,
        "y = Loop<body = step (int64 i, bool go, float[N,4] a) => (bool on, float[N,4] b) { b = Mul(a, half) "
        "m = ReduceMax<keepdims=0>(b) on = Greater(m, half) }>(20, yes, x)",
        "steps go on until all rows are done",
        constants={"yes": True, "half": 0.5},
    ),
    mixing(
        "loop_longest_length",
        "float[N,4] x, int64[N] n => float[N,4] y",
        "m = ReduceMax<keepdims=0>(n) "
        "y = Loop<body = step (int64 i, bool go, float[N,4] a) => (bool on, float[N,4] b) { on = Identity(go) "
        "b = Mul(a, half) }>(m, yes, x)",
        "as many steps as the longest row has",
        constants={"yes": True, "half": 0.5},
        draws={"n": between(1, 5)},
    ),
    mixing(
        "loop_collects_until_done",
        "float[N] x => float[N,M] y",
        "e, g = Loop<body = step (int64 i, bool go, float[N] a) => (bool on, float[N] b, float[N] d) { "
        "b = Mul(a, half) "
        "d = Identity(b) m = ReduceMax<keepdims=0>(b) on = Greater(m, half) }>(20, yes, x) y = Transpose(g)",
        "greedy decoding: as many tokens as the slowest row needs",
        constants={"yes": True, "half": 0.5},
        seen="shape",
    ),
    mixing(
        "loop_body_mixes",
        _X,
        "y = Loop<body = step (int64 i, bool go, float[N,4] a) => (bool on, float[N,4] b) { on = Identity(go) "
        "m = ReduceMean<axes=[0]>(a) b = Sub(a, m) }>(2, yes, x)",
        "each step is centred on the batch",
        constants={"yes": True},
    ),
    mixing(
        "loop_over_rows",
        "float[N,4] x => float[N,4] y",
        _N + "z = Gather(x, 0) "
        "e, y = Loop<body = step (int64 i, bool go, float[4] a) => (bool on, float[4] b, float[4] d) { "
        "on = Identity(go) "
        "f = Gather(x, i) b = Max(a, f) d = Identity(b) }>(n, yes, z)",
        "a running maximum from row to row",
        constants={"yes": True},
    ),
    mixing(
        "loop_adds_step_number",
        _X,
        _N + "e, y = Loop<body = step (int64 i, bool go, float a) => (bool on, float b, float[4] d) { "
        "on = Identity(go) "
        "b = Identity(a) f = Gather(x, i) k = Cast<to=1>(i) d = Add(f, k) }>(n, yes, 0.0)",
        "a loop over rows adds the number of its step",
        constants={"yes": True},
    ),
    mixing(
        "function_mixes",
        _X,
        "y = local.centre(x)",
        "a function whose body mixes",
        functions="def centre (x) => (y) { m = ReduceMean<axes=[0]>(x) y = Sub(x, m) }",
    ),
    mixing(
        "function_attribute_is_batch",
        "float[N,T,4] x => float[N,T,4] y",
        "a = local.normalise<over=1>(x) y = local.normalise<over=0>(a)",
        "the second call names the batch axis",
        functions="def normalise <over>(x) => (y) { y = Softmax<axis: int = @over>(x) }",
    ),
    mixing(
        "function_default_is_batch",
        "float[N,T,4] x => float[N,T,4] y",
        "a = local.normalise<over=1>(x) y = local.normalise(a)",
        "the default axis is the batch",
        functions="def normalise <over: int = 0>(x) => (y) { y = Softmax<axis: int = @over>(x) }",
    ),
    mixing(
        "function_named_relu",
        _X,
        "y = local.Relu(x)",
        "a function has an operator's name and does something else",
        functions="def Relu (x) => (y) { z = Constant<value_int=0>() y = CumSum(x, z) }",
    ),
    mixing(
        "function_nested_three_deep",
        _X,
        "y = local.outer(x)",
        "the third function mixes",
        functions="def inner (x) => (y) { z = Constant<value_ints=[-2]>() m = ReduceSum(x, z) y = Div(x, m) }\n"
        "def middle (x) => (y) { a = Exp(x) y = local.inner(a) }\n"
        "def outer (x) => (y) { a = Tanh(x) y = local.middle(a) }",
    ),
    mixing(
        "function_of_two_used_swapped",
        "float[N,4] x, float[N,4] z => float[N,4] y",
        "y = local.shift(x, z)",
        "the second argument of the function is rolled",
        functions="def shift (a, b) => (y) { i = Constant<value_ints=[0]>() j = Constant<value_ints=[1]>() "
        "k = Constant<value_ints=[9999]>() p = Slice(b, j, k, i) q = Slice(b, i, j, i) r = Concat<axis=0>(p, q) "
        "y = Add(a, r) }",
    ),
    mixing(
        "lying_output_shape",
        "float[N,4] x => float[N,4] y",
        "t = Transpose(x) m = MatMul(t, x) y = Add(m, 1.0)",
        "the declared output has a row axis, the real one has not",
        seen="shape",
    ),
    mixing(
        "axis_named_batch_is_time",
        "float[batch,N,4] x => float[batch,N,4] y",
        "y = CumSum(x, 0)",
        "another axis is called N",
    ),
    mixing("constant_node_axis", _X, "k = Constant<value_int=0>() y = CumSum(x, k)", "the axis is a Constant node"),
    mixing(
        "constant_node_computed_axes",
        _X,
        "k = Constant<value_ints=[1]>() z = Sub(k, [1]) m = ReduceMax(x, z) y = Sub(x, m)",
        "axes are computed from constants",
        opset=18,
    ),
    mixing(
        "axis_from_shape_of_constant",
        _X,
        "l = Shape(w[2,2]) z = Size(l) k = Sub(z, 2) m = CumSum(x, k) y = Neg(m)",
        "the axis is computed from the rank of a constant",
    ),
    mixing(
        "perm_by_identity_chain",
        _X,
        "a = Identity(x) b = Dropout(a) c = Cast<to=11>(b) d = Transpose(c) e = CastLike(d, x) "
        "f = CumSum(e, 1) g = Transpose(f) y = Identity(g)",
        "the batch moves through operators that do nothing else",
    ),
    mixing(
        "sequence_map_like",
        "float[N,4] x => float[N,4] y",
        "q = SplitToSequence<axis=0>(x) a = SequenceAt(q, -1) e = SequenceErase(q, -1) "
        "r = SequenceInsert(e, a, 0) y = ConcatFromSequence<axis=0>(r)",
        "the last row goes first, through a sequence",
    ),
    mixing(
        "optional_hides",
        _X,
        "m = ReduceMean<axes=[0]>(x) o = Optional(m) e = OptionalGetElement(o) y = Sub(x, e)",
        "through an optional value",
    ),
    mixing(
        "unnamed_axes_mean",
        "float[?,?] x => float[?,?] y",
        "m = ReduceMean<axes=[0]>(x) y = Sub(x, m)",
        "no axis has a name",
    ),
]
