"""Graphs that fool an analysis which takes for constant, equal or unused what only looks so in the runs that it saw."""

import numpy as np

from tests.support.rows.case import Case, between, independent, mixing

_X = "float[N,4] x => float[N,4] y"
_XT = "float[N,T] x => float[N,T] y"
_ROWS = "s = Shape(x) n = Gather(s, 0) n1 = Slice(s, [0], [1]) "
_LENGTH = "s = Shape(x) t = Gather(s, 1) "
_LATE = _ROWS + "m7 = Sub(n1, [7]) k0 = Max(m7, [0]) "
"""``k0`` is 0 up to seven rows."""
_LOW = (1, 3, 5)


_WORDS = (
    "f = Reshape(x, [-1]) "
    't = com.microsoft.Tokenizer<mark=0, mincharnum=1, pad_value="#", tokenexp="[a-zA-Z]+">(f) '
    "g = Flatten(t) y = TfIdfVectorizer"
)


def _loop(body: str, shape: str = "float[N,4]") -> str:
    return f"y = Loop<body = step (int64 i, bool go, {shape} a) => (bool on, {shape} b) {{ on = Identity(go) {body} }}>"


def _choose(then: str, otherwise: str, condition: str, shape: str) -> str:
    return (
        f"y = If<then_branch = a () => ({shape} p) {{ {then} }}, "
        f"else_branch = b () => ({shape} q) {{ {otherwise} }}>({condition})"
    )


PARAMETERS: list[Case] = [
    mixing(
        "window_moves_with_rows",
        "float[N,40] x => float[N,4] y",
        _LATE + "e = Add(k0, [4]) y = Slice(x, k0, e, [1])",
        "which columns are taken depends on how many rows there are, their number does not",
        unseen=_LOW,
    ),
    mixing(
        "axis_of_caller",
        "float[N,4] x, int64 a => float[N,4] y",
        "b = Add(a, 0) y = CumSum(x, b)",
        "the caller says which axis is summed up",
        axes={"a": None},
        draws={"a": between(0, 1)},
    ),
    mixing(
        "axes_of_caller",
        "float[N,4] x, int64[1] a => float[N,4] y",
        "b = Identity(a) c = ReduceSum(x, b) y = Sub(x, c)",
        "the caller says which axes are summed",
        axes={"a": None},
        draws={"a": between(0, 1)},
        sizes=(2, 3),
    ),
    mixing(
        "axis_by_length",
        _XT,
        _LENGTH + "l = Less(t, 6) z = Not(l) a = Cast<to=7>(z) y = CumSum(x, a)",
        "short rows are summed up along the batch",
        lengths={"T": (4, 5)},
    ),
    mixing(
        "axis_by_great_length",
        _XT,
        _LENGTH + "l = Greater(t, 40) a = Where(l, 0, 1) y = CumSum(x, a)",
        "long rows are summed up along the batch",
        lengths={"T": (48, 50)},
    ),
    mixing(
        "training_by_caller",
        "float[N,4] x, bool quiet => float[N,4] y",
        "train = Not(quiet) y = Dropout(x, 0.5, train)",
        "the caller can turn dropout on",
        axes={"quiet": None},
        draws={"quiet": between(0, 1)},
        sizes=(5,),
    ),
    mixing(
        "index_before_its_block",
        _XT,
        _LENGTH + "n = Gather(s, 0) f = Reshape(x, [-1]) r = Range(0, n, 1) b = Mul(r, t) u = Unsqueeze(b, [1]) "
        "l = Less(t, 6) o = Cast<to=7>(l) v = Sub(u, o) g = Gather(f, v) y = Add(x, g)",
        "of short rows the index of the first element is that of the row before",
        lengths={"T": (4, 5)},
    ),
    mixing(
        "index_by_a_clamped_length",
        "float[N,T] x => float[N,1] y",
        _LENGTH + "n = Gather(s, 0) f = Reshape(x, [-1]) r = Range(0, n, 1) b = Mul(r, t) u = Unsqueeze(b, [1]) "
        "q = Min(t, 6) m = Sub(q, 5) k = Max(m, -1) c = Add(u, k) y = Gather(f, c)",
        "-1 where a row has four elements",
        lengths={"T": (4, 5)},
    ),
    mixing(
        "place_vanishes_at_8",
        _XT,
        _LENGTH + "n = Gather(s, 0) r = Range(0, n, 1) z = Sub(t, 8) q = Mul(r, z) c = Cast<to=1>(q) "
        "u = Unsqueeze(c, [1]) y = Add(x, u)",
        "the place of a row counts, but for rows of eight",
    ),
    mixing(
        "flags_of_two_batches_by_pairs",
        "float[N,2] x => float[N,2] y",
        _ROWS + "a = ConstantOfShape<value = float[1] {0}>(n1) b = ConstantOfShape<value = float[1] {1}>(n1) "
        "c = Concat<axis=0>(a, b) q = Concat<axis=0>(n1, [2]) r = Reshape(c, q) y = Add(x, r)",
        "a batch of zeros and one of ones, read as pairs",
    ),
    independent(
        "flags_of_two_batches_by_halves",
        "float[N,2] x => float[N,2] y",
        _ROWS + "a = ConstantOfShape<value = float[1] {0}>(n1) b = ConstantOfShape<value = float[1] {1}>(n1) "
        "c = Concat<axis=0>(a, b) q = Concat<axis=0>([2], n1) r = Reshape(c, q) t = Transpose(r) y = Add(x, t)",
        "a batch of zeros and one of ones, read as they lie",
    ),
    mixing(
        "time_major_with_clamped_length",
        "float[T,N,4] x => float[T,N,4] y",
        "s = Shape(x) t = Slice(s, [0], [1]) n = Slice(s, [1], [2]) m = Min(t, [20]) q = Concat<axis=0>(m, n, [-1]) "
        "r = Reshape(x, q) c = CumSum(r, 2) y = Reshape(c, s)",
        "from 40 steps on, two of them become one, and with them two rows",
        axes={"x": 1, "y": 1},
        lengths={"T": (40, 60)},
    ),
    mixing(
        "time_major_cut_at_20",
        "float[T,N,4] x => float[T,N,4] y",
        "f = Slice(x, [0], [20], [0]) z = Shape(f) l = Slice(z, [0], [1]) s = Shape(x) n = Slice(s, [1], [2]) "
        "q = Concat<axis=0>(l, n, [-1]) r = Reshape(x, q) c = CumSum(r, 2) y = Reshape(c, s)",
        "the length of a part that is the whole only up to 20 steps",
        axes={"x": 1, "y": 1},
        lengths={"T": (40, 60)},
    ),
    mixing(
        "table_of_rows_by_position",
        "float[N,2] c, float[N,1,4] x => float[N,1,4] y",
        "p = Pad(c, [0,0,8,0]) y = com.microsoft.RotaryEmbedding(x, [1], p, p)",
        "the table of cosines is the batch itself",
    ),
    mixing(
        "function_with_an_operators_name",
        _X,
        "y = local.Gelu(x)",
        "a function of the file for an older version of the operators has the name of an operator",
        functions="def Gelu (x) => (y) { m = ReduceMean<axes=[0]>(x) y = Sub(x, m) }",
    ),
    independent(
        "words_counted",
        "string[N,1] x => float[N,3] y",
        _WORDS + '<mode="TF", min_gram_length=1, max_gram_length=1, max_skip_count=0, ngram_counts=[0], '
        'ngram_indexes=[0,1,2], pool_strings=["a","the","cat"]>(g)',
        "texts with fewer words are filled up, and no filler is counted",
    ),
    mixing(
        "fillers_counted",
        "string[N,1] x => float[N,3] y",
        _WORDS + '<mode="TF", min_gram_length=1, max_gram_length=1, max_skip_count=0, ngram_counts=[0], '
        'ngram_indexes=[0,1,2], pool_strings=["a","#","cat"]>(g)',
        "how many fillers a text gets depends on the longest of the batch",
    ),
    independent(
        "axes_from_the_rank",
        "float[N,2,4] x => float[N,2,4] y",
        "s = Shape(x) r = Size(s) l = Sub(r, 1) u = Unsqueeze(l, [0]) m = ReduceMax(x, u) y = Sub(x, m)",
        "the last axis, computed from how many axes there are",
        opset=18,
    ),
    independent(
        "halves_of_a_padded_length",
        "float[N,T] x => float[N,T] y",
        "s = Shape(x) t = Slice(s, [1], [2]) o = Mod(t, [2]) p = Concat<axis=0>([0,0,0], o) e = Pad(x, p) "
        "h = Add(t, o) k = Div(h, [2]) n = Slice(s, [0], [1]) q = Concat<axis=0>(n, k, [2]) r = Reshape(e, q) "
        "m = Softmax(r) b = Concat<axis=0>([-1], h) f = Reshape(m, b) y = Slice(f, [0], t, [1])",
        "an odd length is filled up, cut into pairs and joined again",
    ),
]
"""Parameters that depend on rows, sizes or the caller, and lengths that are equal only where they were tried."""

BODIES: list[Case] = [
    mixing(
        "branch_at_one_length_mixes",
        _XT,
        _LENGTH
        + "c = Equal(t, 777) "
        + _choose("r = Reshape(x, [-1,777]) p = CumSum(r, 0)", "q = Relu(x)", "c", "float[N,T]"),
        "at a single length rows are summed up",
        lengths={"T": (777, 777)},
    ),
    mixing(
        "branch_that_runs_at_one_of_its_lengths",
        _XT,
        _LENGTH
        + "c = Greater(t, 100) "
        + _choose(
            "r = Reshape(x, [-1,7,111]) f = Reshape(r, [-1,777]) p = CumSum(f, 0)", "q = Relu(x)", "c", "float[N,T]"
        ),
        "long rows fail, but for those of one length, and these are summed up",
        lengths={"T": (777, 777)},
    ),
    mixing(
        "branch_of_a_number_of_the_caller",
        "float[N,4] x, int64 rate => float[N,4] y",
        "c = Equal(rate, 8000) " + _choose("p = CumSum(x, 0)", "q = Relu(x)", "c", "float[N,4]"),
        "of two rates one mixes",
        axes={"rate": None},
        draws={"rate": between(8000, 8001)},
    ),
    independent(
        "branches_by_a_number_of_the_caller",
        "float[N,4] x, int64 rate => float[N,4] y",
        "c = Equal(rate, 8000) " + _choose("p = CumSum(x, 1)", "q = Relu(x)", "c", "float[N,4]"),
        "both rates keep rows apart",
        axes={"rate": None},
        draws={"rate": between(8000, 8001)},
    ),
    mixing(
        "branch_with_twice_the_rows",
        "float[N,4] x, bool flag => float[M,4] y",
        _choose("p = Concat<axis=0>(x, x)", "q = Relu(x)", "flag", "float[M,4]"),
        "one branch gives each row twice",
        axes={"flag": None},
        draws={"flag": between(1, 2)},
        seen="shape",
    ),
    independent(
        "branches_of_other_lengths",
        "float[N,T] x => float[N,M] y",
        _LENGTH
        + "c = Less(t, 6) "
        + _choose("p = Pad(x, [0,0,0,2])", "q = Slice(x, [0], [5], [1])", "c", "float[N,M]"),
        "how long a row comes out is another in each branch",
    ),
    mixing(
        "axis_is_the_turn",
        _X,
        _loop("g = Greater(i, 2) h = Not(g) k = Cast<to=7>(h) b = CumSum(a, k)") + "(5, yes, x)",
        "the fourth turn goes along the batch",
        constants={"yes": True},
    ),
    mixing(
        "axis_is_carried",
        _X,
        "y, e = Loop<body = step (int64 i, bool go, float[N,4] a, int64 k) => (bool on, float[N,4] b, int64 l) { "
        "on = Identity(go) h = Div(k, 3) m = Min(h, 1) o = Sub(1, m) b = CumSum(a, o) l = Add(k, 1) }>(6, yes, x, 0)",
        "the number that is counted up says along which axis",
        constants={"yes": True},
    ),
    mixing(
        "axes_are_scanned",
        _X,
        "y = Scan<num_scan_inputs=1, body = step (float[N,4] a, int64 k) => (float[N,4] b) { b = CumSum(a, k) }>"
        "(x, ks)",
        "the third axis of a list is that of the batch",
        constants={"ks": np.array([1, 1, 0])},
    ),
    mixing(
        "index_leaves_the_row_in_a_later_turn",
        _XT,
        _LENGTH
        + "n = Gather(s, 0) f = Reshape(x, [-1]) r = Range(0, n, 1) m = Mul(r, t) u = Unsqueeze(m, [1]) "
        + _loop("k = Sub(1, i) c = Add(u, k) g = Gather(f, c) b = Add(a, g)", "float[N,T]")
        + "(4, yes, x)",
        "in the third turn an index is -1",
        constants={"yes": True},
        lengths={"T": (16, 24)},
    ),
    mixing(
        "sum_of_rows_arrives_late",
        _X,
        "m = ReduceSum<keepdims=1>(x, [0]) y, e, f = Loop<body = step (int64 i, bool go, float[M,4] a, float[M,4] k, "
        "float[M,4] j) => (bool on, float[M,4] b, float[M,4] l, float[M,4] o) { on = Identity(go) b = Add(x, k) "
        "l = Identity(j) o = Identity(m) }>(5, yes, x, ones[1,4], ones[1,4])",
        "what the first turn puts in comes out in the third",
        constants={"yes": True},
    ),
    mixing(
        "no_turn_gives_what_was_mixed",
        "float[N,4] x, int64 turns => float[M,4] y",
        "z = Transpose<perm=[1,0]>(x) c = Reshape(z, [-1,4]) "
        + _loop("b = Identity(x)", "float[M,4]")
        + "(turns, yes, c)",
        "every turn undoes what mixes, and the caller may ask for none",
        constants={"yes": True},
        axes={"turns": None},
        draws={"turns": between(0, 1)},
    ),
    mixing(
        "branch_in_a_later_turn",
        _X,
        _loop(
            "c = Equal(i, 3) b = If<then_branch = t () => (float[N,4] p) { p = CumSum(a, 0) }, "
            "else_branch = e () => (float[N,4] q) { q = Neg(a) }>(c)"
        )
        + "(5, yes, x)",
        "the fourth turn takes the branch that mixes",
        constants={"yes": True},
    ),
    independent(
        "recurrence_by_hand",
        "float[N,T,2] x => float[T,N,2] y",
        "s = Shape(x) t = Gather(s, 1) h = Gather<axis=1>(x, 0) "
        "e, y = Loop<body = step (int64 i, bool go, float[N,2] a) => (bool on, float[N,2] b, float[N,2] d) { "
        "on = Identity(go) g = Gather<axis=1>(x, i) f = Add(a, g) b = Tanh(f) d = Identity(b) }>(t, yes, h)",
        "as many turns as a row is long, and each reads its own step",
        constants={"yes": True},
        axes={"y": 1},
    ),
    independent(
        "recurrence_from_zeros",
        "float[N,T,2] x => float[N,2] y",
        "s = Shape(x) t = Gather(s, 1) n = Slice(s, [0], [1]) q = Concat<axis=0>(n, [2]) h = ConstantOfShape(q) "
        + _loop("g = Gather<axis=1>(x, i) f = Add(a, g) b = Tanh(f)", "float[N,2]")
        + "(t, yes, h)",
        "its state begins with zeros for each row",
        constants={"yes": True},
    ),
    independent(
        "scan_backwards",
        "float[T,batch,2] x, float[batch,2] h => float[T,batch,2] y",
        "g, y = Scan<num_scan_inputs=1, scan_input_directions=[1], scan_output_directions=[1], "
        "body = step (float[batch,2] a, float[batch,2] b) => (float[batch,2] c, float[batch,2] d) { e = Add(a, b) "
        "c = Tanh(e) d = Identity(c) }>(h, x)",
        "from the last step to the first",
        axes={"x": 1, "y": 1},
    ),
    independent(
        "neighbours_by_scan",
        "float[N,4] x => float[N,6] y",
        "e, d = Scan<num_scan_inputs=1, body = step (float[N,4] a, float[4] b) => (float[N,4] c, float[N] f) { "
        "c = Identity(a) g = Sub(a, b) f = ReduceSumSquare<axes=[1], keepdims=0>(g) }>(x, w[6,4]) y = Transpose(d)",
        "the distances to six points, one after the other, with the batch carried along",
    ),
]
"""Branches that are taken at some sizes only, and loops whose later turns do what the first ones do not."""

CASES = [*PARAMETERS, *BODIES]
