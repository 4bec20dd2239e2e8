"""Rows stay apart in recurrent networks, series and sound."""

from tests.support.rows.case import read_cases

_N = "s = Shape(x) n = Slice(s, [0], [1]) "

_TABLE = """
lstm_time_major (axes x=1 y=2): the batch is axis 1, and 2 of the output
    float[T,batch,3] x => float[T,1,batch,2] y | y = LSTM<hidden_size=2>(x, w[1,8,3], w[1,8,2], w[1,16])
lstm_transposed: time goes first inside
    float[batch,T,3] x => float[batch,T,2] y
    t = Transpose<perm=[1,0,2]>(x) o, h, c = LSTM<hidden_size=2>(t, w[1,8,3], w[1,8,2]) q = Squeeze(o, [1])
    y = Transpose<perm=[1,0,2]>(q)
lstm_bidirectional_reshaped: directions become features
    float[batch,T,3] x => float[batch,T,4] y
    t = Transpose<perm=[1,0,2]>(x) o = LSTM<hidden_size=2, direction="bidirectional">(t, w[2,8,3], w[2,8,2])
    p = Transpose<perm=[2,0,1,3]>(o) y = Reshape(p, [0,0,-1])
lstm_state_from_size: the first state is built from the size
    float[batch,T,3] x => float[batch,2] y
    $N z = Concat<axis=0>([1], n, [2]) i = ConstantOfShape(z) t = Transpose<perm=[1,0,2]>(x)
    o, h, c = LSTM<hidden_size=2>(t, w[1,8,3], w[1,8,2], "", "", i, i) y = Squeeze(h, [0])
lstm_learned_state: a learned first state, the same for all rows
    float[batch,T,3] x => float[batch,2] y
    $N z = Concat<axis=0>([1], n, [2]) i = Expand(w[1,1,2], z) j = Expand(w[1,1,2], z) t = Transpose<perm=[1,0,2]>(x)
    o, h, c = LSTM<hidden_size=2>(t, w[1,8,3], w[1,8,2], "", "", i, j) y = Squeeze(c, [0])
lstm_lengths (axes x=1 y=2 h=1; draws n=1..5): each row has its own length
    float[T,batch,3] x, int32[batch] n => float[T,1,batch,2] y, float[1,batch,2] h
    y, h = LSTM<hidden_size=2>(x, w[1,8,3], w[1,8,2], "", n)
lstm_state_in_and_out (axes h=1 c=1 h_out=1 c_out=1): [layers, batch, features] states
    float[batch,T,3] x, float[1,batch,2] h, float[1,batch,2] c
    => float[batch,T,2] y, float[1,batch,2] h_out, float[1,batch,2] c_out
    t = Transpose<perm=[1,0,2]>(x) o, h_out, c_out = LSTM<hidden_size=2>(t, w[1,8,3], w[1,8,2], "", "", h, c)
    q = Squeeze(o, [1]) y = Transpose<perm=[1,0,2]>(q)
lstm_two_layers_states (axes x=1 h=1 h_out=1): states of two layers are cut apart and joined
    float[T,batch,2] x, float[2,batch,2] h => float[2,batch,2] h_out
    a = Slice(h, [0], [1], [0]) b = Slice(h, [1], [2], [0])
    o, p, q = LSTM<hidden_size=2>(x, w[1,8,2], w[1,8,2], "", "", a, a) u = Squeeze(o, [1])
    r, t, v = LSTM<hidden_size=2>(u, w[1,8,2], w[1,8,2], "", "", b, b) h_out = Concat<axis=0>(p, t)
gru_linear_before_reset (axes x=1 h=1): the last state
    float[T,batch,3] x => float[1,batch,2] h
    y, h = GRU<hidden_size=2, linear_before_reset=1>(x, w[1,6,3], w[1,6,2], w[1,12])
gru_reverse_7 (axes x=1 y=2; opset 7): backwards, an old opset
    float[T,batch,3] x => float[T,1,batch,2] y | y = GRU<hidden_size=2, direction="reverse">(x, w[1,6,3], w[1,6,2])
rnn_by_hand_two_steps: an unrolled network
    float[N,2,3] x => float[N,4] y
    a, b = Split<axis=1>(x, [1,1]) c = Squeeze(a, [1]) d = Squeeze(b, [1]) e = Gemm(c, w[3,4], w[4]) f = Tanh(e)
    g = Gemm(f, w[4,4]) h = Gemm(d, w[3,4], g) y = Tanh(h)
rnn (axes x=1 h=1): a plain recurrent network
    float[T,batch,3] x => float[1,batch,2] h | y, h = RNN<hidden_size=2, activations=["Relu"]>(x, w[1,2,3], w[1,2,2])
scan_over_time (axes x=1 y=1): state goes along time, the batch is axis 1
    float[T,batch,2] x, float[batch,2] h => float[batch,2] h_out, float[T,batch,2] y
    h_out, y = Scan<num_scan_inputs=1, body = step (float[batch,2] a, float[batch,2] b) => (float[batch,2] c,
    float[batch,2] d) { e = Add(a, b) c = Tanh(e) d = Identity(c) }>(h, x)
scan_time_on_axis_1: the scanned axis is 1
    float[batch,T,2] x, float[batch,2] h => float[batch,T,2] y
    g, y = Scan<num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[1], body = step (float[batch,2] a,
    float[batch,2] b) => (float[batch,2] c, float[batch,2] d) { e = Add(a, b) c = Tanh(e) d = Identity(c) }>(h, x)
loop_of_constant_length (constants weight yes): three steps on the rows
    y = Loop<body = step (int64 i, bool go, float[N,4] a) => (bool on, float[N,4] b) { on = Identity(go)
    c = MatMul(a, weight) b = Tanh(c) }>(3, yes, x)
exponential_smoothing: a running mean; the ones are data times zero
    float[N,T] x => float[N,T] y | r = CumSum(x, 1) o = Mul(x, 0.0) p = Add(o, 1.0) c = CumSum(p, 1) y = Div(r, c)
scale_and_restore: each row's own scale
    float[N,T] x => float[N,T] y
    m = ReduceMean<axes=[1]>(x) c = Sub(x, m) a = Abs(c) d = ReduceMean<axes=[1]>(a) e = Add(d, 0.1) z = Div(c, e)
    t = Tanh(z) f = Mul(t, e) y = Add(f, m)
trend_and_season: a moving mean is taken off
    float[N,T] x => float[N,T] y
    u = Unsqueeze(x, [1]) p = Pad<mode="edge">(u, [0,0,1,0,0,1]) a = AveragePool<kernel_shape=[3], strides=[1]>(p)
    t = Squeeze(a, [1]) d = Sub(x, t) y = Mul(d, 0.5)
horizon_from_history: a linear forecast for each channel
    float[N,8,2] x => float[N,3,2] y
    t = Transpose<perm=[0,2,1]>(x) h = MatMul(t, w[8,3]) y = Transpose<perm=[0,2,1]>(h)
channels_folded: channels are rows for a while
    float[N,8,2] x => float[N,3,2] y
    t = Transpose<perm=[0,2,1]>(x) f = Reshape(t, [-1,8]) m = ReduceMean<axes=[1]>(f) c = Sub(f, m)
    h = Gemm(c, w[8,3], w[3]) a = Add(h, m) b = Reshape(a, [-1,2,3]) y = Transpose<perm=[0,2,1]>(b)
patches_of_series: patches of time
    float[N,12] x => float[N,3,4] y | p = Reshape(x, [0,3,4]) y = LayerNormalization(p, p[4])
quantiles: quantiles that do not cross
    float[N,6] x => float[N,3,3] y | h = MatMul(x, w[6,9]) r = Reshape(h, [-1,3,3]) y = CumSum(r, 2)
dft_17: the axis is an attribute
    float[N,8,1] x => float[N,8,2] y | y = DFT<axis=1>(x)
dft_20_onesided (opset 20): the axis is an input
    float[N,8,1] x => float[N,5,2] y | y = DFT<onesided=1>(x, "", 1)
stft_magnitude (constants win): frames of sound
    float[N,32] x => float[N,7,5] y
    f = STFT<onesided=1>(x, 4, win, 8) q = Mul(f, f) a = ReduceSum<keepdims=0>(q, [-1]) y = Sqrt(a)
mel_features (tolerance 0.01): a mel matrix of constants
    float[N,5,9] x => float[N,5,4] y
    m = MelWeightMatrix(4, 16, 8000, 0.0, 4000.0) a = MatMul(x, m) q = Mul(a, a) e = Add(q, 1.0) y = Log(e)
frames_by_gather (constants at): overlapping frames by constant indices
    float[N,16] x => float[N,5,4] y | y = Gather<axis=1>(x, at)
hann_window: a window of constant length
    float[N,3,8] x => float[N,3,8] y | h = HannWindow(8) y = Mul(x, h)
window_of_time: a window as long as the row
    float[N,T] x => float[N,T] y | s = Shape(x) t = Gather(s, 1) h = HammingWindow(t) y = Mul(x, h)
masked_mean (draws mask=0..2): the mean over a row's own length
    float[N,T,3] x, float[N,T] mask => float[N,3] y
    u = Unsqueeze(mask, [2]) m = Mul(x, u) a = ReduceSum<keepdims=0>(m, [1]) c = ReduceSum(mask, [1]) d = Clip(c, 1.0)
    y = Div(a, d)
length_mask (draws n=1..7): arange(T) < n for each row
    float[N,T] x, int64[N] n => float[N,T] y
    s = Shape(x) t = Gather(s, 1) r = Range(0, t, 1) u = Unsqueeze(n, [1]) b = Less(r, u) y = Where(b, x, 0.0)
anomaly_score: the error of a reconstruction and a threshold
    float[N,6] x => float[N] score, bool[N] flag
    h = Gemm(x, w[6,2], w[2]) r = Relu(h) o = Gemm(r, w[2,6], w[6]) d = Sub(x, o) q = Mul(d, d)
    score = ReduceMean<axes=[1], keepdims=0>(q) flag = Greater(score, 1.0)
"""

CASES = read_cases(
    "independent",
    _TABLE,
    shorthands={"N": _N},
    constants={
        "weight": [[0.1, 0.2, 0, 0.5], [0.3, 0, 0.1, 0], [0, 0.9, 0.2, 0.1], [1, 0, 0, 0.2]],
        "yes": True,
        "win": [0.1, 0.4, 0.8, 1, 1, 0.8, 0.4, 0.1],
        "at": [[3 * frame + step for step in range(4)] for frame in range(5)],
    },
)
