"""Rows mix in networks: recurrent layers and attention over the batch, quantisation by the batch, chance, losses."""

import numpy as np

from tests.support.rows.case import read_cases

_TABLE = """
lstm_batch_is_time: the layer takes axis 0 for time
    float[batch,T,3] x => float[batch,1,T,2] y | y = LSTM<hidden_size=2>(x, w[1,8,3], w[1,8,2])
gru_batch_is_time: the layer takes axis 0 for time
    float[batch,T,3] x => float[batch,T,2] y | a = GRU<hidden_size=2>(x, w[1,6,3], w[1,6,2]) y = Squeeze(a, [1])
rnn_batch_is_time_reverse: rows are the steps of one sequence, backwards
    float[batch,3] x => float[batch,2] y
    u = Unsqueeze(x, [1]) a = RNN<hidden_size=2, direction="reverse">(u, w[1,2,3], w[1,2,2]) y = Squeeze(a, [1,2])
lstm_last_state_of_rows (axes h=1; seen shape): the last state of a layer that takes axis 0 for time
    float[batch,T,3] x => float[1,T,2] h | y, h = LSTM<hidden_size=2>(x, w[1,8,3], w[1,8,2])
lstm_transposed_twice (axes x=1 y=1): time comes first and is moved away
    float[T,batch,3] x => float[T,batch,2] y
    t = Transpose<perm=[1,0,2]>(x) a = LSTM<hidden_size=2>(t, w[1,8,3], w[1,8,2]) q = Squeeze(a, [1])
    y = Transpose<perm=[1,0,2]>(q)
lstm_longest_length (axes x=1 y=2; draws n=1..5): all rows run to the longest length
    float[T,batch,3] x, int32[batch] n => float[T,1,batch,2] y
    m = ReduceMax(n) s = Shape(n) l = Expand(m, s) y = LSTM<hidden_size=2>(x, w[1,8,3], w[1,8,2], "", l)
lstm_state_of_first_row (axes x=1 h=1 y=1): all rows start with the first row's state
    float[T,batch,3] x, float[1,batch,2] h => float[1,batch,2] y
    f = Slice(h, [0], [1], [1]) s = Shape(h) e = Expand(f, s)
    a, y = GRU<hidden_size=2>(x, w[1,6,3], w[1,6,2], "", "", e)
lstm_weights_of_batch (axes x=1 y=2): the weights come from the batch
    float[T,batch,2] x => float[T,1,batch,2] y
    m = ReduceMean<axes=[0,1], keepdims=1>(x) k = Mul(m, w[1,8,2]) y = LSTM<hidden_size=2>(x, k, w[1,8,2])
attention_over_rows: rows attend to each other
    q = MatMul(x, w[4,4]) t = Transpose(x) m = MatMul(q, t) p = Softmax(m) y = MatMul(p, x)
attention_time_major: a time-major layer gets batch-major rows
    float[batch,T,4] x => float[batch,T,4] y
    q = MatMul(x, w[4,4]) a = Transpose<perm=[1,0,2]>(q) b = Transpose<perm=[1,2,0]>(x) m = MatMul(a, b) p = Softmax(m)
    c = Transpose<perm=[1,0,2]>(x) o = MatMul(p, c) y = Transpose<perm=[1,0,2]>(o)
attention_axis_0_softmax: scores are normalised over the batch
    float[batch,T,4] x => float[batch,T,4] y
    t = Transpose<perm=[0,2,1]>(x) m = MatMul(x, t) p = Softmax<axis=0>(m) y = MatMul(p, x)
heads_softmax_wrong_axis: heads, time, batch: softmax over the third
    float[batch,T,4] x => float[batch,T,4] y
    s = Shape(x) a = Reshape(x, [0,0,2,2]) b = Transpose<perm=[2,1,0,3]>(a) c = Softmax<axis=2>(b)
    d = Transpose<perm=[2,1,0,3]>(c) y = Reshape(d, s)
mask_of_any_row (draws mask=0..2): a place is padding only where no row has it
    float[batch,T] x, int64[batch,T] mask => float[batch,T] y
    m = ReduceMax<axes=[0]>(mask) b = Cast<to=9>(m) y = Where(b, x, -1.0)
mask_of_first_row (draws mask=0..2): the first row's mask goes for all
    float[batch,T] x, int64[batch,T] mask => float[batch,T] y
    m = Gather(mask, 0) b = Cast<to=9>(m) y = Where(b, x, -1.0)
clip_logits (seen shape): each picture with each text
    float[batch,4] image, float[batch,4] text => float[batch,M] y
    a = ReduceL2<axes=[1]>(image) b = Div(image, a) t = Transpose(text) m = MatMul(b, t) y = Mul(m, 10.0)
clip_probabilities: a softmax over the texts of the batch
    float[batch,4] image, float[batch,4] text => float[batch,4] y
    t = Transpose(text) m = MatMul(image, t) p = Softmax(m) y = MatMul(p, text)
template_matching (seen shape): each row's template is run over each row
    float[batch,2,6] x, float[batch,2,3] z => float[batch,M,4] y | y = Conv(x, z)
contrastive_loss (seen shape): a loss of the batch
    float[N,4] x => float y | t = Transpose(x) m = MatMul(x, t) l = LogSoftmax(m) y = ReduceMean<keepdims=0>(l)
centre_distance: the distance to the middle of the batch
    float[N,4] x => float[N] y | m = ReduceMean<axes=[0]>(x) d = Sub(x, m) y = ReduceL2<axes=[1], keepdims=0>(d)
point_net (axes x=1 y=1): points get the features of the whole cloud
    float[1,N,3] x => float[1,N,6] y
    h = MatMul(x, w[3,3]) r = Relu(h) m = ReduceMax<axes=[1]>(r) s = Shape(x) e = Expand(m, s) y = Concat<axis=2>(x, e)
nearest_points: the farthest row of the batch
    float[N,3] x => float[N,3] y
    a = Unsqueeze(x, [1]) b = Unsqueeze(x, [0]) d = Sub(a, b) q = Mul(d, d) k = ReduceSum<keepdims=0>(q, [2])
    v, i = TopK<largest=0>(k, [1]) n = ReduceMax<axes=[1]>(k) y = Sub(x, n)
dynamic_quantise (draws x=-2.0..2.0): one scale for the batch
    q, s, z = DynamicQuantizeLinear(x) y = DequantizeLinear(q, s, z)
dynamic_quantise_matmul_integer (constants k): a dynamically quantised layer
    float[N,4] x => float[N,3] y
    q, s, z = DynamicQuantizeLinear(x) m = MatMulInteger(q, u8[4,3], z, k) f = Cast<to=1>(m) y = Mul(f, s)
quantise_by_batch_scale (constants z): a scale that comes from the batch
    float[N,4] x => int8[N,4] y | a = Abs(x) m = ReduceMax<keepdims=0>(a) s = Div(m, 127.0) y = QuantizeLinear(x, s, z)
random_normal_like: noise
    r = RandomNormalLike(x) y = Add(x, r)
random_uniform_like_seed: noise from a fixed seed
    r = RandomUniformLike<seed=7.0>(x) y = Add(x, r)
random_normal_shape: the same noise for all rows of a run
    r = RandomNormal<shape=[1,4]>() y = Mul(x, r)
random_uniform_shape: noise without a row axis
    r = RandomUniform<shape=[4], seed=1.0>() y = Mul(x, r)
bernoulli (draws x=0.1..0.9): a draw for each number
    y = Bernoulli(x)
multinomial: classes are drawn
    float[N,4] x => int32[N,8] y | y = Multinomial<sample_size=8>(x)
dropout_training (constants yes): dropout drops
    y = Dropout(x, 0.5, yes)
dropout_by_shared_flag (axes train=None; draws train=1..2): dropout drops where the caller wants it
    float[N,4] x, bool train => float[N,4] y | y = Dropout(x, 0.5, train)
instance_norm_of_batch: one instance for the whole batch
    float[N,3,4] x => float[N,3,4] y
    s = Shape(x) f = Reshape(x, [1,1,-1]) n = InstanceNormalization(f, ones[1], zeros[1]) y = Reshape(n, s)
batch_norm_of_folded_channels (axes x=1 y=1): statistics of a batch on axis 1
    float[2,N,3] x => float[2,N,3] y
    t = Transpose<perm=[1,2,0]>(x) n, m, v = BatchNormalization<training_mode=1>(t, p[3], w[3], w[3], p[3])
    y = Transpose<perm=[2,0,1]>(n)
dft_over_rows (opset 17): a transform along the batch
    float[N,4,2] x => float[N,4,2] y | y = DFT<axis=0>(x)
dft_over_rows_axis_input (opset 20): a transform along the batch, the axis is an input
    float[N,4,2] x => float[N,4,2] y | y = DFT(x, "", -3)
stft_over_rows (constants win): rows are samples of a sound
    float[N] x => float[N] y
    p = Pad(x, [8,8]) u = Unsqueeze(p, [0]) f = STFT(u, 4, win) m = ReduceSum<keepdims=0>(f) y = Add(x, m)
moving_mean_over_rows: rows are points of one series
    float[N,1] x => float[N,1] y
    t = Transpose(x) u = Unsqueeze(t, [1]) a = AveragePool<kernel_shape=[5], pads=[2,2]>(u) q = Squeeze(a, [1])
    y = Transpose(q)
differences_of_one_series: each row less the one before
    float[N,1] x => float[N,1] y
    f = Slice(x, [0], [1]) a = Concat<axis=0>(f, x) b = Slice(a, [0], [-1], [0]) y = Sub(x, b)
scan_over_rows: state goes from row to row
    g, y = Scan<num_scan_inputs=1, body = step (float[4] a, float[4] b) => (float[4] c, float[4] d) { c = Add(a, b)
    d = Identity(c) }>(zeros[4], x)
scan_over_rows_backwards: state goes from row to row, backwards
    g, y = Scan<num_scan_inputs=1, scan_input_directions=[1], scan_output_directions=[1], body = step (float[4] a,
    float[4] b) => (float[4] c, float[4] d) { c = Max(a, b) d = Identity(c) }>(zeros[4], x)
scan_over_time_with_shared_state (axes x=1 y=1): the state along time is the mean of the batch
    float[T,batch,2] x => float[T,batch,2] y
    g, y = Scan<num_scan_inputs=1, body = step (float[1,2] a, float[batch,2] b) => (float[1,2] c, float[batch,2] d) {
    m = ReduceMean<axes=[0]>(b) c = Add(a, m) d = Add(b, c) }>(zeros[1,2], x)
scan_9_where_8_had_a_batch (axes h=None; opset 9): from opset 9 on axis 0 is what is scanned
    float[N,T,2] x, float[T,2] h => float[N,T,2] y
    g, y = Scan<num_scan_inputs=1, body = step (float[T,2] a, float[T,2] b) => (float[T,2] c, float[T,2] d) {
    e = Add(a, b) c = Tanh(e) d = Identity(c) }>(h, x)
spectral_norm_of_batch: divided by the length of a vector over the batch
    u = MatMul(x, w[4,1]) n = ReduceL2(u) y = Div(x, n)
resize_to_largest (draws n=1..9; seen shape): all rows are stretched to the longest
    float[N,1,8] x, int64[N] n => float[N,1,M] y
    m = ReduceMax<axes=[0], keepdims=1>(n) s = Shape(x) b = Slice(s, [0], [2]) t = Concat<axis=0>(b, m)
    y = Resize<mode="nearest">(x, "", "", t)
pad_to_longest (draws n=1..5; seen shape): all rows are padded by the longest
    float[N,T] x, int64[N] n => float[N,M] y
    m = ReduceMax<axes=[0], keepdims=1>(n) k = Concat<axis=0>([0,0,0], m) y = Pad(x, k)
"""

CASES = read_cases(
    "mixing",
    _TABLE,
    constants={
        "k": np.array(100, np.uint8),
        "z": np.array(0, np.int8),
        "yes": True,
        "win": [0.1, 0.4, 0.8, 1, 1, 0.8, 0.4, 0.1],
    },
)
