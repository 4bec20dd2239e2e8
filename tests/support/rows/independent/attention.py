"""Rows stay apart in attention: masks in the ways that exporters write them, rotary positions, caches."""

from tests.support.rows.case import read_cases

_PROJECT = "q = MatMul(x, w[4,4]) k = MatMul(x, w[4,4]) v = MatMul(x, w[4,4]) "
_SCORES = _PROJECT + "kt = Transpose<perm=[0,2,1]>(k) m = MatMul(q, kt) s = Mul(m, 0.5) "
_OUT = " p = Softmax(a) o = MatMul(p, v) y = MatMul(o, w[4,4])"

_TABLE = """
self_attention: one head
    float[batch,T,4] x => float[batch,T,4] y | $SCORES a = Identity(s) $OUT
additive_mask (draws mask=0..2): (1 - mask) * -10000
    float[batch,T,4] x, int64[batch,T] mask => float[batch,T,4] y
    $SCORES f = Cast<to=1>(mask) g = Sub(1.0, f) h = Mul(g, -10000.0) u = Unsqueeze(h, [1]) a = Add(s, u) $OUT
where_mask (draws mask=0..2): Where with a large negative number
    float[batch,T,4] x, int64[batch,T] mask => float[batch,T,4] y
    $SCORES b = Cast<to=9>(mask) u = Unsqueeze(b, [1]) a = Where(u, s, -1e9) $OUT
causal_mask_constant: a triangle of constants
    float[batch,4,4] x => float[batch,4,4] y
    $SCORES o4 = Trilu<upper=1>(ones[4,4], 1) b = Cast<to=9>(o4) a = Where(b, -1e9, s) $OUT
causal_mask_from_range: arange(T) <= arange(T)[:, None]
    float[batch,T,4] x => float[batch,T,4] y
    $SCORES z = Shape(x) t = Gather(z, 1) r = Range(0, t, 1) c = Unsqueeze(r, [1]) b = LessOrEqual(r, c)
    a = Where(b, s, -1e9) $OUT
causal_mask_from_trilu_of_size: a triangle built from the length
    float[batch,T,4] x => float[batch,T,4] y
    $SCORES z = Shape(x) t = Slice(z, [1], [2]) d = Concat<axis=0>(t, t) n = ConstantOfShape<value = float[1] {-1e9}>(d)
    h = Trilu<upper=1>(n, 1) a = Add(s, h) $OUT
causal_mask_expanded_over_rows: a triangle for each row, as torch's tracing writes it
    float[batch,T,4] x => float[batch,T,4] y
    $SCORES z = Shape(x) n = Slice(z, [0], [1]) t = Slice(z, [1], [2]) d = Concat<axis=0>(t, t)
    n1 = ConstantOfShape<value = float[1] {-1e4}>(d) h = Trilu<upper=1>(n1, 1) e = Concat<axis=0>(n, t, t)
    g = Expand(h, e) a = Add(s, g) $OUT
causal_and_padding_mask (draws mask=0..2): two masks joined
    float[batch,T,4] x, int64[batch,T] mask => float[batch,T,4] y
    $SCORES z = Shape(x) t = Gather(z, 1) r = Range(0, t, 1) c = Unsqueeze(r, [1]) b = LessOrEqual(r, c)
    g = Cast<to=9>(mask) u = Unsqueeze(g, [1]) e = And(b, u) a = Where(e, s, -1e9) $OUT
mask_by_gather_b_t (draws mask=0..2): a mask is read at b*T + t
    float[batch,T,4] x, int64[batch,T] mask => float[batch,T,4] y
    $SCORES z = Shape(mask) n = Gather(z, 0) t = Gather(z, 1) f = Reshape(mask, [-1]) r = Range(0, n, 1)
    ru = Unsqueeze(r, [1]) rt = Mul(ru, t) l = Range(0, t, 1) i = Add(rt, l) g = Gather(f, i) b = Cast<to=9>(g)
    u = Unsqueeze(b, [1]) a = Where(u, s, -1e9) $OUT
no_mask_if_full_row (draws mask=1..2): the mask depends on the row's own length
    float[batch,T,4] x, int64[batch,T] mask => float[batch,T,4] y
    $SCORES f = Cast<to=1>(mask) u = Unsqueeze(f, [1]) l = ReduceSum(u, [2]) g = Sub(u, 1.0) h = Mul(g, 1e4)
    i = Div(h, l) j = IsNaN(i) q0 = Where(j, 0.0, i) a = Add(s, q0) $OUT
mask_of_lengths (draws n=1..5): arange(T) < n[:, None]
    float[batch,T,4] x, int64[batch] n => float[batch,T,4] y
    $SCORES z = Shape(x) t = Gather(z, 1) r = Range(0, t, 1) c = Unsqueeze(n, [1]) b = Less(r, c) u = Unsqueeze(b, [1])
    a = Where(u, s, -1e9) $OUT
attention_bias_alibi: a bias that grows with distance
    float[batch,T,4] x => float[batch,T,4] y
    $SCORES z = Shape(x) t = Gather(z, 1) r = Range(0, t, 1) c = Unsqueeze(r, [1]) d = Sub(r, c) f = Cast<to=1>(d)
    g = Mul(f, 0.25) a = Add(s, g) $OUT
cross_attention: each row has its own memory
    float[batch,T,4] x, float[batch,S,4] memory => float[batch,T,4] y
    q = MatMul(x, w[4,4]) k = MatMul(memory, w[4,4]) v = MatMul(memory, w[4,4]) kt = Transpose<perm=[0,2,1]>(k)
    a = MatMul(q, kt) $OUT
learned_queries: queries are constants
    float[batch,T,4] x => float[batch,2,4] y
    k = MatMul(x, w[4,4]) kt = Transpose<perm=[0,2,1]>(k) a = MatMul(w[2,4], kt) p = Softmax(a) y = MatMul(p, x)
learned_queries_expanded: queries are repeated for each row
    float[batch,T,4] x => float[batch,2,4] y
    z = Shape(x) n = Slice(z, [0], [1]) t = Concat<axis=0>(n, [1,1]) q = Tile(w[1,2,4], t)
    kt = Transpose<perm=[0,2,1]>(x) a = MatMul(q, kt) p = Softmax(a) y = MatMul(p, x)
four_heads: heads as an axis
    float[batch,T,8] x => float[batch,T,8] y
    z = Shape(x) q = MatMul(x, w[8,8]) k = MatMul(x, w[8,8]) qr = Reshape(q, [0,0,4,2]) kr = Reshape(k, [0,0,4,2])
    qt = Transpose<perm=[0,2,1,3]>(qr) kt = Transpose<perm=[0,2,3,1]>(kr) a = MatMul(qt, kt) p = Softmax(a)
    o = MatMul(p, qt) ot = Transpose<perm=[0,2,1,3]>(o) y = Reshape(ot, z)
grouped_keys_repeated (draws x=-2.0..2.0): two heads of keys for four of queries
    float[batch,T,8] x => float[batch,T,8] y
    z = Shape(x) b = Slice(z, [0], [2]) q = Reshape(x, [0,0,4,2]) qt = Transpose<perm=[0,2,1,3]>(q)
    k = MatMul(x, w[8,4]) kr = Reshape(k, [0,0,2,2]) kt = Transpose<perm=[0,2,1,3]>(kr) ku = Unsqueeze(kt, [2])
    ke = Tile(ku, [1,1,2,1,1]) n = Slice(z, [0], [1]) t = Slice(z, [1], [2]) d = Concat<axis=0>(n, [4], t, [2])
    kk = Reshape(ke, d) kx = Transpose<perm=[0,1,3,2]>(kk) a = MatMul(qt, kx) p = Softmax(a) o = MatMul(p, kk)
    ot = Transpose<perm=[0,2,1,3]>(o) y = Reshape(ot, z)
rotary_by_halves: rotary positions
    float[batch,T,4] x => float[batch,T,4] y
    z = Shape(x) t = Gather(z, 1) r = Range(0, t, 1) f = Cast<to=1>(r) c = Unsqueeze(f, [1]) g = Mul(c, p[1,2])
    e = Concat<axis=-1>(g, g) co = Cos(e) si = Sin(e) a, b = Split<axis=-1>(x, [2,2]) nb = Neg(b)
    h = Concat<axis=-1>(nb, a) u = Mul(x, co) v = Mul(h, si) y = Add(u, v)
rotary_by_position_ids (draws ids=0..16): each row has its own positions
    float[batch,T,4] x, int64[batch,T] ids => float[batch,T,4] y
    co = Gather(w[16,4], ids) si = Gather(w[16,4], ids) a = Slice(x, [0], [2], [2]) b = Slice(x, [2], [4], [2])
    nb = Neg(b) h = Concat<axis=-1>(nb, a) u = Mul(x, co) v = Mul(h, si) y = Add(u, v)
rotary_interleaved: pairs of features are turned
    float[batch,T,4] x => float[batch,T,4] y
    z = Shape(x) r = Reshape(x, [0,0,2,2]) a, b = Split<axis=3>(r, [1,1]) nb = Neg(b) c = Concat<axis=3>(nb, a)
    y = Reshape(c, z)
cache_appended: keys are put behind those of before
    float[batch,2,S,2] past, float[batch,2,1,2] k => float[batch,2,M,2] present, float[batch,2] y
    present = Concat<axis=2>(past, k) y = ReduceMax<axes=[2,3], keepdims=0>(present)
cache_layers_on_axis_0 (axes past=1 k=1 present=1): layers are axis 0, the batch is axis 1
    float[2,batch,S,2] past, float[2,batch,1,2] k => float[2,batch,M,2] present | present = Concat<axis=2>(past, k)
linear_attention: keys meet values before queries
    float[batch,T,4] x => float[batch,T,4] y
    $PROJECT e = Elu(k) f = Add(e, 1.0) ft = Transpose<perm=[0,2,1]>(f) kv = MatMul(ft, v) y = MatMul(q, kv)
t5_relative_buckets: distances are looked up in a table
    float[batch,T,4] x => float[batch,T,4] y
    $SCORES z = Shape(x) t = Gather(z, 1) r = Range(0, t, 1) c = Unsqueeze(r, [1]) d = Sub(r, c) i = Abs(d)
    l = Min(i, 7) g = Gather(w[8,1], l) h = Squeeze(g, [2]) a = Add(s, h) $OUT
mean_pooling_normalised (draws mask=0..2): a sentence vector of length one
    float[batch,T,4] x, int64[batch,T] mask => float[batch,4] y
    f = Cast<to=1>(mask) u = Unsqueeze(f, [2]) z = Shape(x) e = Expand(u, z) m = Mul(x, e)
    a = ReduceSum<keepdims=0>(m, [1]) c = ReduceSum<keepdims=0>(e, [1]) d = Clip(c, 1e-6) g = Div(a, d)
    n = ReduceL2<axes=[1]>(g) k = Clip(n, 1e-6) hz = Shape(g) h = Expand(k, hz) y = Div(g, h)
attention_23 (opset 23; draws q=-2.0..2.0 k=-2.0..2.0): the operator of opset 23
    float[batch,2,T,4] q, float[batch,2,S,4] k, float[batch,2,S,4] v => float[batch,2,T,4] y
    y = Attention<is_causal=1>(q, k, v)
rotary_embedding_23 (opset 23; draws ids=0..16): the operator of opset 23
    float[batch,2,T,4] x, int64[batch,T] ids => float[batch,2,T,4] y | y = RotaryEmbedding(x, w[16,2], w[16,2], ids)
moe_by_weights: all experts, weighted for each token
    float[batch,T,4] x => float[batch,T,4] y
    g = MatMul(x, w[4,3]) p = Softmax(g) m = Einsum<equation="bti,eio->bteo">(x, w[3,4,4]) v = Unsqueeze(p, [3])
    s = Mul(m, v) y = ReduceSum<keepdims=0>(s, [2])
token_type_from_shape (draws ids=0..10): token types are zeros of the shape of the ids
    int64[batch,T] ids => float[batch,T,4] y
    s = Shape(ids) z = ConstantOfShape<value = int64[1] {0}>(s) a = Gather(w[10,4], ids) b = Gather(w[2,4], z)
    y = Add(a, b)
token_type_from_buffer (constants buffer; draws ids=0..10): token types are cut from a stored buffer and expanded
    int64[batch,T] ids => float[batch,T,4] y
    s = Shape(ids) t = Slice(s, [1], [2]) b = Slice(buffer, [0], t, [1]) e = Expand(b, s) g = Gather(w[2,4], e)
    a = Gather(w[10,4], ids) y = Add(a, g)
"""

CASES = read_cases(
    "independent",
    _TABLE,
    shorthands={"OUT": _OUT, "PROJECT": _PROJECT, "SCORES": _SCORES},
    constants={"buffer": [[0] * 16]},
)
