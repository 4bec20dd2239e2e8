"""Rows stay apart in attention: masks in the ways that exporters write them, rotary positions, caches."""

from tests.support.rows.case import Case, between, independent

_QKV = "float[batch,T,4] x => float[batch,T,4] y"
_PROJECT = "q = MatMul(x, w[4,4]) k = MatMul(x, w[4,4]) v = MatMul(x, w[4,4]) "
_SCORES = _PROJECT + "kt = Transpose<perm=[0,2,1]>(k) m = MatMul(q, kt) s = Mul(m, 0.5) "
_OUT = " p = Softmax(a) o = MatMul(p, v) y = MatMul(o, w[4,4])"
_MASK = {"mask": between(0, 2)}
_MASKED = "float[batch,T,4] x, int64[batch,T] mask => float[batch,T,4] y"
_SMALL = {"x": between(-2.0, 2.0)}

CASES: list[Case] = [
    independent("self_attention", _QKV, _SCORES + "a = Identity(s)" + _OUT, "one head"),
    independent(
        "additive_mask",
        _MASKED,
        _SCORES
        + "f = Cast<to=1>(mask) g = Sub(1.0, f) h = Mul(g, -10000.0) u = Unsqueeze(h, [1]) a = Add(s, u)"
        + _OUT,
        "(1 - mask) * -10000",
        draws=_MASK,
    ),
    independent(
        "where_mask",
        _MASKED,
        _SCORES + "b = Cast<to=9>(mask) u = Unsqueeze(b, [1]) a = Where(u, s, -1e9)" + _OUT,
        "Where with a large negative number",
        draws=_MASK,
    ),
    independent(
        "causal_mask_constant",
        "float[batch,4,4] x => float[batch,4,4] y",
        _SCORES + "o4 = Trilu<upper=1>(ones[4,4], 1) b = Cast<to=9>(o4) a = Where(b, -1e9, s)" + _OUT,
        "a triangle of constants",
    ),
    independent(
        "causal_mask_from_range",
        _QKV,
        _SCORES + "z = Shape(x) t = Gather(z, 1) r = Range(0, t, 1) c = Unsqueeze(r, [1]) b = LessOrEqual(r, c) "
        "a = Where(b, s, -1e9)" + _OUT,
        "arange(T) <= arange(T)[:, None]",
    ),
    independent(
        "causal_mask_from_trilu_of_size",
        _QKV,
        _SCORES + "z = Shape(x) t = Slice(z, [1], [2]) d = Concat<axis=0>(t, t) "
        "n = ConstantOfShape<value = float[1] {-1e9}>(d) h = Trilu<upper=1>(n, 1) a = Add(s, h)" + _OUT,
        "a triangle built from the length",
    ),
    independent(
        "causal_mask_expanded_over_rows",
        _QKV,
        _SCORES + "z = Shape(x) n = Slice(z, [0], [1]) t = Slice(z, [1], [2]) d = Concat<axis=0>(t, t) "
        "n1 = ConstantOfShape<value = float[1] {-1e4}>(d) h = Trilu<upper=1>(n1, 1) "
        "e = Concat<axis=0>(n, t, t) g = Expand(h, e) a = Add(s, g)" + _OUT,
        "a triangle for each row, as torch's tracing writes it",
    ),
    independent(
        "causal_and_padding_mask",
        _MASKED,
        _SCORES + "z = Shape(x) t = Gather(z, 1) r = Range(0, t, 1) c = Unsqueeze(r, [1]) b = LessOrEqual(r, c) "
        "g = Cast<to=9>(mask) u = Unsqueeze(g, [1]) e = And(b, u) a = Where(e, s, -1e9)" + _OUT,
        "two masks joined",
        draws=_MASK,
    ),
    independent(
        "mask_by_gather_b_t",
        _MASKED,
        _SCORES + "z = Shape(mask) n = Gather(z, 0) t = Gather(z, 1) f = Reshape(mask, [-1]) r = Range(0, n, 1) "
        "ru = Unsqueeze(r, [1]) rt = Mul(ru, t) l = Range(0, t, 1) i = Add(rt, l) g = Gather(f, i) "
        "b = Cast<to=9>(g) u = Unsqueeze(b, [1]) a = Where(u, s, -1e9)" + _OUT,
        "a mask is read at b*T + t",
        draws=_MASK,
    ),
    independent(
        "no_mask_if_full_row",
        _MASKED,
        _SCORES + "f = Cast<to=1>(mask) u = Unsqueeze(f, [1]) l = ReduceSum(u, [2]) g = Sub(u, 1.0) h = Mul(g, 1e4) "
        "i = Div(h, l) j = IsNaN(i) q0 = Where(j, 0.0, i) a = Add(s, q0)" + _OUT,
        "the mask depends on the row's own length",
        draws={"mask": between(1, 2)},
    ),
    independent(
        "mask_of_lengths",
        "float[batch,T,4] x, int64[batch] n => float[batch,T,4] y",
        _SCORES + "z = Shape(x) t = Gather(z, 1) r = Range(0, t, 1) c = Unsqueeze(n, [1]) b = Less(r, c) "
        "u = Unsqueeze(b, [1]) a = Where(u, s, -1e9)" + _OUT,
        "arange(T) < n[:, None]",
        draws={"n": between(1, 5)},
    ),
    independent(
        "attention_bias_alibi",
        _QKV,
        _SCORES + "z = Shape(x) t = Gather(z, 1) r = Range(0, t, 1) c = Unsqueeze(r, [1]) d = Sub(r, c) "
        "f = Cast<to=1>(d) g = Mul(f, 0.25) a = Add(s, g)" + _OUT,
        "a bias that grows with distance",
    ),
    independent(
        "cross_attention",
        "float[batch,T,4] x, float[batch,S,4] memory => float[batch,T,4] y",
        "q = MatMul(x, w[4,4]) k = MatMul(memory, w[4,4]) v = MatMul(memory, w[4,4]) "
        "kt = Transpose<perm=[0,2,1]>(k) a = MatMul(q, kt)" + _OUT,
        "each row has its own memory",
    ),
    independent(
        "learned_queries",
        "float[batch,T,4] x => float[batch,2,4] y",
        "k = MatMul(x, w[4,4]) kt = Transpose<perm=[0,2,1]>(k) a = MatMul(w[2,4], kt) p = Softmax(a) y = MatMul(p, x)",
        "queries are constants",
    ),
    independent(
        "learned_queries_expanded",
        "float[batch,T,4] x => float[batch,2,4] y",
        "z = Shape(x) n = Slice(z, [0], [1]) t = Concat<axis=0>(n, [1,1]) q = Tile(w[1,2,4], t) "
        "kt = Transpose<perm=[0,2,1]>(x) a = MatMul(q, kt) p = Softmax(a) y = MatMul(p, x)",
        "queries are repeated for each row",
    ),
    independent(
        "four_heads",
        "float[batch,T,8] x => float[batch,T,8] y",
        "z = Shape(x) q = MatMul(x, w[8,8]) k = MatMul(x, w[8,8]) qr = Reshape(q, [0,0,4,2]) "
        "kr = Reshape(k, [0,0,4,2]) qt = Transpose<perm=[0,2,1,3]>(qr) kt = Transpose<perm=[0,2,3,1]>(kr) "
        "a = MatMul(qt, kt) p = Softmax(a) o = MatMul(p, qt) ot = Transpose<perm=[0,2,1,3]>(o) "
        "y = Reshape(ot, z)",
        "heads as an axis",
    ),
    independent(
        "grouped_keys_repeated",
        "float[batch,T,8] x => float[batch,T,8] y",
        "z = Shape(x) b = Slice(z, [0], [2]) q = Reshape(x, [0,0,4,2]) qt = Transpose<perm=[0,2,1,3]>(q) "
        "k = MatMul(x, w[8,4]) kr = Reshape(k, [0,0,2,2]) kt = Transpose<perm=[0,2,1,3]>(kr) "
        "ku = Unsqueeze(kt, [2]) ke = Tile(ku, [1,1,2,1,1]) n = Slice(z, [0], [1]) t = Slice(z, [1], [2]) "
        "d = Concat<axis=0>(n, [4], t, [2]) kk = Reshape(ke, d) kx = Transpose<perm=[0,1,3,2]>(kk) "
        "a = MatMul(qt, kx) p = Softmax(a) o = MatMul(p, kk) ot = Transpose<perm=[0,2,1,3]>(o) "
        "y = Reshape(ot, z)",
        "two heads of keys for four of queries",
        draws=_SMALL,
    ),
    independent(
        "rotary_by_halves",
        _QKV,
        "z = Shape(x) t = Gather(z, 1) r = Range(0, t, 1) f = Cast<to=1>(r) c = Unsqueeze(f, [1]) "
        "g = Mul(c, p[1,2]) e = Concat<axis=-1>(g, g) co = Cos(e) si = Sin(e) "
        "a, b = Split<axis=-1>(x, [2,2]) nb = Neg(b) h = Concat<axis=-1>(nb, a) u = Mul(x, co) "
        "v = Mul(h, si) y = Add(u, v)",
        "rotary positions",
    ),
    independent(
        "rotary_by_position_ids",
        "float[batch,T,4] x, int64[batch,T] ids => float[batch,T,4] y",
        "co = Gather(w[16,4], ids) si = Gather(w[16,4], ids) a = Slice(x, [0], [2], [2]) "
        "b = Slice(x, [2], [4], [2]) nb = Neg(b) h = Concat<axis=-1>(nb, a) u = Mul(x, co) v = Mul(h, si) "
        "y = Add(u, v)",
        "each row has its own positions",
        draws={"ids": between(0, 16)},
    ),
    independent(
        "rotary_interleaved",
        "float[batch,T,4] x => float[batch,T,4] y",
        "z = Shape(x) r = Reshape(x, [0,0,2,2]) a, b = Split<axis=3>(r, [1,1]) nb = Neg(b) "
        "c = Concat<axis=3>(nb, a) y = Reshape(c, z)",
        "pairs of features are turned",
    ),
    independent(
        "cache_appended",
        "float[batch,2,S,2] past, float[batch,2,1,2] k => float[batch,2,M,2] present, float[batch,2] y",
        "present = Concat<axis=2>(past, k) y = ReduceMax<axes=[2,3], keepdims=0>(present)",
        "keys are put behind those of before",
    ),
    independent(
        "cache_layers_on_axis_0",
        "float[2,batch,S,2] past, float[2,batch,1,2] k => float[2,batch,M,2] present",
        "present = Concat<axis=2>(past, k)",
        "layers are axis 0, the batch is axis 1",
        axes={"past": 1, "k": 1, "present": 1},
    ),
    independent(
        "linear_attention",
        _QKV,
        _PROJECT + "e = Elu(k) f = Add(e, 1.0) ft = Transpose<perm=[0,2,1]>(f) kv = MatMul(ft, v) y = MatMul(q, kv)",
        "keys meet values before queries",
    ),
    independent(
        "t5_relative_buckets",
        _QKV,
        _SCORES + "z = Shape(x) t = Gather(z, 1) r = Range(0, t, 1) c = Unsqueeze(r, [1]) d = Sub(r, c) i = Abs(d) "
        "l = Min(i, 7) g = Gather(w[8,1], l) h = Squeeze(g, [2]) a = Add(s, h)" + _OUT,
        "distances are looked up in a table",
    ),
    independent(
        "mean_pooling_normalised",
        _MASKED.replace("float[batch,T,4] y", "float[batch,4] y"),
        "f = Cast<to=1>(mask) u = Unsqueeze(f, [2]) z = Shape(x) e = Expand(u, z) m = Mul(x, e) "
        "a = ReduceSum<keepdims=0>(m, [1]) c = ReduceSum<keepdims=0>(e, [1]) d = Clip(c, 1e-6) g = Div(a, d) "
        "n = ReduceL2<axes=[1]>(g) k = Clip(n, 1e-6) hz = Shape(g) h = Expand(k, hz) y = Div(g, h)",
        "a sentence vector of length one",
        draws=_MASK,
    ),
    independent(
        "attention_23",
        "float[batch,2,T,4] q, float[batch,2,S,4] k, float[batch,2,S,4] v => float[batch,2,T,4] y",
        "y = Attention<is_causal=1>(q, k, v)",
        "the operator of opset 23",
        opset=23,
        draws={"q": between(-2.0, 2.0), "k": between(-2.0, 2.0)},
    ),
    independent(
        "rotary_embedding_23",
        "float[batch,2,T,4] x, int64[batch,T] ids => float[batch,2,T,4] y",
        "y = RotaryEmbedding(x, w[16,2], w[16,2], ids)",
        "the operator of opset 23",
        opset=23,
        draws={"ids": between(0, 16)},
    ),
    independent(
        "moe_by_weights",
        "float[batch,T,4] x => float[batch,T,4] y",
        'g = MatMul(x, w[4,3]) p = Softmax(g) m = Einsum<equation="bti,eio->bteo">(x, w[3,4,4]) '
        "v = Unsqueeze(p, [3]) s = Mul(m, v) y = ReduceSum<keepdims=0>(s, [2])",
        "all experts, weighted for each token",
    ),
    independent(
        "token_type_from_shape",
        "int64[batch,T] ids => float[batch,T,4] y",
        "s = Shape(ids) z = ConstantOfShape<value = int64[1] {0}>(s) a = Gather(w[10,4], ids) "
        "b = Gather(w[2,4], z) y = Add(a, b)",
        "token types are zeros of the shape of the ids",
        draws={"ids": between(0, 10)},
    ),
    independent(
        "token_type_from_buffer",
        "int64[batch,T] ids => float[batch,T,4] y",
        "s = Shape(ids) t = Slice(s, [1], [2]) b = Slice(buffer, [0], t, [1]) e = Expand(b, s) "
        "g = Gather(w[2,4], e) a = Gather(w[10,4], ids) y = Add(a, g)",
        "token types are cut from a stored buffer and expanded",
        constants={"buffer": [[0] * 16]},
        draws={"ids": between(0, 10)},
    ),
]
