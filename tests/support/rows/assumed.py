"""Graphs that fool an analysis that takes values for constant or equal only because they are so in its own runs."""

import numpy as np

from tests.support.rows.case import read_cases

_ROWS = "s = Shape(x) n = Gather(s, 0) n1 = Slice(s, [0], [1]) "
_LENGTH = "s = Shape(x) t = Gather(s, 1) "
_LATE = _ROWS + "m7 = Sub(n1, [7]) k0 = Max(m7, [0]) "
"""``k0`` is 0 up to seven rows."""
_WORDS = (
    "f = Reshape(x, [-1]) "
    't = com.microsoft.Tokenizer<mark=0, mincharnum=1, pad_value="#", tokenexp="[a-zA-Z]+">(f) '
    "g = Flatten(t) y = TfIdfVectorizer"
)
_COLUMN = _WORDS.replace("f = Reshape(x, [-1]) ", "").replace("(f)", "(x)")

_INDEPENDENT = """
flags_of_two_batches_by_halves: a batch of zeros and one of ones, read as they lie
    float[N,2] x => float[N,2] y
    $ROWS a = ConstantOfShape<value = float[1] {0}>(n1) b = ConstantOfShape<value = float[1] {1}>(n1)
    c = Concat<axis=0>(a, b) q = Concat<axis=0>([2], n1) r = Reshape(c, q) t = Transpose(r) y = Add(x, t)
words_counted: texts with fewer words are filled up, and no filler is counted
    string[N,1] x => float[N,3] y
    $WORDS <mode="TF", min_gram_length=1, max_gram_length=1, max_skip_count=0, ngram_counts=[0], ngram_indexes=[0,1,2],
    pool_strings=["a","the","cat"]>(g)
words_of_a_column_counted: as above, but the words are cut out of a column as it is
    string[N,1] x => float[N,3] y
    $COLUMN <mode="TF", min_gram_length=1, max_gram_length=1, max_skip_count=0, ngram_counts=[0], ngram_indexes=[0,1,2],
    pool_strings=["a","the","cat"]>(g)
axes_from_the_rank (opset 18): the last axis, computed from how many axes there are
    float[N,2,4] x => float[N,2,4] y
    s = Shape(x) r = Size(s) l = Sub(r, 1) u = Unsqueeze(l, [0]) m = ReduceMax(x, u) y = Sub(x, m)
halves_of_a_padded_length: an odd length is padded, cut into pairs and joined again
    float[N,T] x => float[N,T] y
    s = Shape(x) t = Slice(s, [1], [2]) o = Mod(t, [2]) p = Concat<axis=0>([0,0,0], o) e = Pad(x, p) h = Add(t, o)
    k = Div(h, [2]) n = Slice(s, [0], [1]) q = Concat<axis=0>(n, k, [2]) r = Reshape(e, q) m = Softmax(r)
    b = Concat<axis=0>([-1], h) f = Reshape(m, b) y = Slice(f, [0], t, [1])
branches_by_a_number_of_the_caller (axes rate=None; draws rate=8000..8001): both rates keep rows apart
    float[N,4] x, int64 rate => float[N,4] y
    c = Equal(rate, 8000)
    y = If<then_branch = a () => (float[N,4] p) { p = CumSum(x, 1) },
    else_branch = b () => (float[N,4] q) { q = Relu(x) }>(c)
branches_of_other_lengths: how long a row comes out is another in each branch
    float[N,T] x => float[N,M] y
    $LENGTH c = Less(t, 6)
    y = If<then_branch = a () => (float[N,M] p) { p = Pad(x, [0,0,0,2]) },
    else_branch = b () => (float[N,M] q) { q = Slice(x, [0], [5], [1]) }>(c)
recurrence_by_hand (constants yes; axes y=1): as many turns as a row is long, and each reads its own step
    float[N,T,2] x => float[T,N,2] y
    s = Shape(x) t = Gather(s, 1) h = Gather<axis=1>(x, 0)
    e, y = Loop<body = step (int64 i, bool go, float[N,2] a) => (bool on, float[N,2] b, float[N,2] d) {
    on = Identity(go) g = Gather<axis=1>(x, i) f = Add(a, g) b = Tanh(f) d = Identity(b) }>(t, yes, h)
recurrence_from_zeros (constants yes): its state begins with zeros for each row
    float[N,T,2] x => float[N,2] y
    s = Shape(x) t = Gather(s, 1) n = Slice(s, [0], [1]) q = Concat<axis=0>(n, [2]) h = ConstantOfShape(q)
    y = Loop<body = step (int64 i, bool go, float[N,2] a) => (bool on, float[N,2] b) { on = Identity(go)
    g = Gather<axis=1>(x, i) f = Add(a, g) b = Tanh(f) }>(t, yes, h)
scan_backwards (axes x=1 y=1): from the last step to the first
    float[T,batch,2] x, float[batch,2] h => float[T,batch,2] y
    g, y = Scan<num_scan_inputs=1, scan_input_directions=[1], scan_output_directions=[1], body = step (float[batch,2] a,
    float[batch,2] b) => (float[batch,2] c, float[batch,2] d) { e = Add(a, b) c = Tanh(e) d = Identity(c) }>(h, x)
neighbours_by_scan: the distances to six points, one after the other, with the batch carried along
    float[N,4] x => float[N,6] y
    e, d = Scan<num_scan_inputs=1, body = step (float[N,4] a, float[4] b) => (float[N,4] c, float[N] f) {
    c = Identity(a) g = Sub(a, b) f = ReduceSumSquare<axes=[1], keepdims=0>(g) }>(x, w[6,4]) y = Transpose(d)
"""

_MIXING = """
window_moves_with_rows (unseen 1,3,5): which columns are taken depends on how many rows there are, their number does not
    float[N,40] x => float[N,4] y | $LATE e = Add(k0, [4]) y = Slice(x, k0, e, [1])
axis_of_caller (axes a=None; draws a=0..1): the caller says which axis is summed up
    float[N,4] x, int64 a => float[N,4] y | b = Add(a, 0) y = CumSum(x, b)
axes_of_caller (axes a=None; draws a=0..1; sizes 2,3): the caller says which axes are summed
    float[N,4] x, int64[1] a => float[N,4] y | b = Identity(a) c = ReduceSum(x, b) y = Sub(x, c)
axis_by_length (lengths T=4,5): short rows are summed up along the batch
    float[N,T] x => float[N,T] y | $LENGTH l = Less(t, 6) z = Not(l) a = Cast<to=7>(z) y = CumSum(x, a)
axis_by_great_length (lengths T=48,50): long rows are summed up along the batch
    float[N,T] x => float[N,T] y | $LENGTH l = Greater(t, 40) a = Where(l, 0, 1) y = CumSum(x, a)
training_by_caller (axes quiet=None; draws quiet=0..1; sizes 5): the caller can turn dropout on
    float[N,4] x, bool quiet => float[N,4] y | train = Not(quiet) y = Dropout(x, 0.5, train)
index_before_its_block (lengths T=4,5): of short rows the index of the first element is that of the row before
    float[N,T] x => float[N,T] y
    $LENGTH n = Gather(s, 0) f = Reshape(x, [-1]) r = Range(0, n, 1) b = Mul(r, t) u = Unsqueeze(b, [1]) l = Less(t, 6)
    o = Cast<to=7>(l) v = Sub(u, o) g = Gather(f, v) y = Add(x, g)
index_by_a_clamped_length (lengths T=4,5): -1 where a row has four elements
    float[N,T] x => float[N,1] y
    $LENGTH n = Gather(s, 0) f = Reshape(x, [-1]) r = Range(0, n, 1) b = Mul(r, t) u = Unsqueeze(b, [1]) q = Min(t, 6)
    m = Sub(q, 5) k = Max(m, -1) c = Add(u, k) y = Gather(f, c)
place_vanishes_at_8: the place of a row counts, but for rows of eight
    float[N,T] x => float[N,T] y
    $LENGTH n = Gather(s, 0) r = Range(0, n, 1) z = Sub(t, 8) q = Mul(r, z) c = Cast<to=1>(q) u = Unsqueeze(c, [1])
    y = Add(x, u)
flags_of_two_batches_by_pairs: a batch of zeros and one of ones, read as pairs
    float[N,2] x => float[N,2] y
    $ROWS a = ConstantOfShape<value = float[1] {0}>(n1) b = ConstantOfShape<value = float[1] {1}>(n1)
    c = Concat<axis=0>(a, b) q = Concat<axis=0>(n1, [2]) r = Reshape(c, q) y = Add(x, r)
time_major_with_clamped_length (axes x=1 y=1; lengths T=40,60): from 40 steps on, two steps become one, and two rows
    float[T,N,4] x => float[T,N,4] y
    s = Shape(x) t = Slice(s, [0], [1]) n = Slice(s, [1], [2]) m = Min(t, [20]) q = Concat<axis=0>(m, n, [-1])
    r = Reshape(x, q) c = CumSum(r, 2) y = Reshape(c, s)
time_major_cut_at_20 (axes x=1 y=1; lengths T=40,60): the length of a part that is the whole only up to 20 steps
    float[T,N,4] x => float[T,N,4] y
    f = Slice(x, [0], [20], [0]) z = Shape(f) l = Slice(z, [0], [1]) s = Shape(x) n = Slice(s, [1], [2])
    q = Concat<axis=0>(l, n, [-1]) r = Reshape(x, q) c = CumSum(r, 2) y = Reshape(c, s)
table_of_rows_by_position: the table of cosines is the batch itself
    float[N,2] c, float[N,1,4] x => float[N,1,4] y
    p = Pad(c, [0,0,8,0]) y = com.microsoft.RotaryEmbedding(x, [1], p, p)
function_with_an_operators_name: a local function has the name of an operator
    y = local.Gelu(x)
    def Gelu (x) => (y) { m = ReduceMean<axes=[0]>(x) y = Sub(x, m) }
fillers_counted: how many fillers a text gets depends on the longest of the batch
    string[N,1] x => float[N,3] y
    $WORDS <mode="TF", min_gram_length=1, max_gram_length=1, max_skip_count=0, ngram_counts=[0], ngram_indexes=[0,1,2],
    pool_strings=["a","#","cat"]>(g)
fillers_of_a_column_counted: how many fillers a text gets depends on the longest of the column
    string[N,1] x => float[N,3] y
    $COLUMN <mode="TF", min_gram_length=1, max_gram_length=1, max_skip_count=0, ngram_counts=[0], ngram_indexes=[0,1,2],
    pool_strings=["a","#","cat"]>(g)
words_of_the_whole_batch (axes y=None; seen shape): all texts are one row of a table, so words are counted together
    string[N,1] x => float[1,3] y
    f = Reshape(x, [1,-1]) y = TfIdfVectorizer<mode="TF", min_gram_length=1, max_gram_length=1, max_skip_count=0,
    ngram_counts=[0], ngram_indexes=[0,1,2], pool_strings=["a","the","cat"]>(f)
branch_at_one_length_mixes (lengths T=777,777): at a single length rows are summed up
    float[N,T] x => float[N,T] y
    $LENGTH c = Equal(t, 777)
    y = If<then_branch = a () => (float[N,T] p) { r = Reshape(x, [-1,777]) p = CumSum(r, 0) },
    else_branch = b () => (float[N,T] q) { q = Relu(x) }>(c)
branch_that_runs_at_one_of_its_lengths (lengths T=777,777): long rows fail, except at one length, where they are summed
    float[N,T] x => float[N,T] y
    $LENGTH c = Greater(t, 100)
    y = If<then_branch = a () => (float[N,T] p) { r = Reshape(x, [-1,7,111]) f = Reshape(r, [-1,777])
    p = CumSum(f, 0) }, else_branch = b () => (float[N,T] q) { q = Relu(x) }>(c)
branch_of_a_number_of_the_caller (axes rate=None; draws rate=8000..8001): of two rates one mixes
    float[N,4] x, int64 rate => float[N,4] y
    c = Equal(rate, 8000)
    y = If<then_branch = a () => (float[N,4] p) { p = CumSum(x, 0) },
    else_branch = b () => (float[N,4] q) { q = Relu(x) }>(c)
branch_with_twice_the_rows (axes flag=None; draws flag=1..2; seen shape): one branch gives each row twice
    float[N,4] x, bool flag => float[M,4] y
    y = If<then_branch = a () => (float[M,4] p) { p = Concat<axis=0>(x, x) },
    else_branch = b () => (float[M,4] q) { q = Relu(x) }>(flag)
axis_is_the_turn (constants yes): the fourth turn goes along the batch
    y = Loop<body = step (int64 i, bool go, float[N,4] a) => (bool on, float[N,4] b) { on = Identity(go)
    g = Greater(i, 2) h = Not(g) k = Cast<to=7>(h) b = CumSum(a, k) }>(5, yes, x)
axis_is_carried (constants yes): the number that is counted up says along which axis
    y, e = Loop<body = step (int64 i, bool go, float[N,4] a, int64 k) => (bool on, float[N,4] b, int64 l) {
    on = Identity(go) h = Div(k, 3) m = Min(h, 1) o = Sub(1, m) b = CumSum(a, o) l = Add(k, 1) }>(6, yes, x, 0)
axes_are_scanned (constants ks): the third axis of a list is that of the batch
    y = Scan<num_scan_inputs=1, body = step (float[N,4] a, int64 k) => (float[N,4] b) { b = CumSum(a, k) }>(x, ks)
index_leaves_the_row_in_a_later_turn (constants yes; lengths T=16,24): in the third turn an index is -1
    float[N,T] x => float[N,T] y
    $LENGTH n = Gather(s, 0) f = Reshape(x, [-1]) r = Range(0, n, 1) m = Mul(r, t) u = Unsqueeze(m, [1])
    y = Loop<body = step (int64 i, bool go, float[N,T] a) => (bool on, float[N,T] b) { on = Identity(go) k = Sub(1, i)
    c = Add(u, k) g = Gather(f, c) b = Add(a, g) }>(4, yes, x)
sum_of_rows_arrives_late (constants yes): what the first turn puts in comes out in the third
    m = ReduceSum<keepdims=1>(x, [0])
    y, e, f = Loop<body = step (int64 i, bool go, float[M,4] a, float[M,4] k, float[M,4] j) => (bool on, float[M,4] b,
    float[M,4] l, float[M,4] o) { on = Identity(go) b = Add(x, k) l = Identity(j)
    o = Identity(m) }>(5, yes, x, ones[1,4], ones[1,4])
no_turn_gives_what_was_mixed (constants yes; axes turns=None; draws turns=0..1): no turn, and what mixes is not undone
    float[N,4] x, int64 turns => float[M,4] y
    z = Transpose<perm=[1,0]>(x) c = Reshape(z, [-1,4])
    y = Loop<body = step (int64 i, bool go, float[M,4] a) => (bool on, float[M,4] b) { on = Identity(go)
    b = Identity(x) }>(turns, yes, c)
branch_in_a_later_turn (constants yes): the fourth turn takes the branch that mixes
    y = Loop<body = step (int64 i, bool go, float[N,4] a) => (bool on, float[N,4] b) { on = Identity(go) c = Equal(i, 3)
    b = If<then_branch = t () => (float[N,4] p) { p = CumSum(a, 0) },
    else_branch = e () => (float[N,4] q) { q = Neg(a) }>(c) }>(5, yes, x)
"""

_SHORTHANDS = {"COLUMN": _COLUMN, "LATE": _LATE, "LENGTH": _LENGTH, "ROWS": _ROWS, "WORDS": _WORDS}
_CONSTANTS = {"yes": True, "ks": np.array([1, 1, 0])}
CASES = [
    *read_cases("independent", _INDEPENDENT, _SHORTHANDS, _CONSTANTS),
    *read_cases("mixing", _MIXING, _SHORTHANDS, _CONSTANTS),
]
