"""Rows mix in networks: recurrent layers and attention over the batch, quantisation by the batch, chance, losses."""

import numpy as np

from tests.support.rows.case import Case, between, mixing

_X = "float[N,4] x => float[N,4] y"
_XTC = "float[batch,T,4] x => float[batch,T,4] y"
_SMALL = {"x": between(-2.0, 2.0)}

CASES: list[Case] = [
    mixing(
        "lstm_batch_is_time",
        "float[batch,T,3] x => float[batch,1,T,2] y",
        "y = LSTM<hidden_size=2>(x, w[1,8,3], w[1,8,2])",
        "the layer takes axis 0 for time",
    ),
    mixing(
        "gru_batch_is_time",
        "float[batch,T,3] x => float[batch,T,2] y",
        "a = GRU<hidden_size=2>(x, w[1,6,3], w[1,6,2]) y = Squeeze(a, [1])",
        "the layer takes axis 0 for time",
    ),
    mixing(
        "rnn_batch_is_time_reverse",
        "float[batch,3] x => float[batch,2] y",
        'u = Unsqueeze(x, [1]) a = RNN<hidden_size=2, direction="reverse">(u, w[1,2,3], w[1,2,2]) '
        "y = Squeeze(a, [1,2])",
        "rows are the steps of one sequence, backwards",
    ),
    mixing(
        "lstm_last_state_of_rows",
        "float[batch,T,3] x => float[1,T,2] h",
        "y, h = LSTM<hidden_size=2>(x, w[1,8,3], w[1,8,2])",
        "the last state of a layer that takes axis 0 for time",
        axes={"h": 1},
        seen="shape",
    ),
    mixing(
        "lstm_transposed_twice",
        "float[T,batch,3] x => float[T,batch,2] y",
        "t = Transpose<perm=[1,0,2]>(x) a = LSTM<hidden_size=2>(t, w[1,8,3], w[1,8,2]) q = Squeeze(a, [1]) "
        "y = Transpose<perm=[1,0,2]>(q)",
        "time comes first and is moved away",
        axes={"x": 1, "y": 1},
    ),
    mixing(
        "lstm_longest_length",
        "float[T,batch,3] x, int32[batch] n => float[T,1,batch,2] y",
        'm = ReduceMax(n) s = Shape(n) l = Expand(m, s) y = LSTM<hidden_size=2>(x, w[1,8,3], w[1,8,2], "", l)',
        "all rows run to the longest length",
        axes={"x": 1, "y": 2},
        draws={"n": between(1, 5)},
    ),
    mixing(
        "lstm_state_of_first_row",
        "float[T,batch,3] x, float[1,batch,2] h => float[1,batch,2] y",
        "f = Slice(h, [0], [1], [1]) s = Shape(h) e = Expand(f, s) "
        'a, y = GRU<hidden_size=2>(x, w[1,6,3], w[1,6,2], "", "", e)',
        "all rows start with the first row's state",
        axes={"x": 1, "h": 1, "y": 1},
    ),
    mixing(
        "lstm_weights_of_batch",
        "float[T,batch,2] x => float[T,1,batch,2] y",
        "m = ReduceMean<axes=[0,1], keepdims=1>(x) k = Mul(m, w[1,8,2]) y = LSTM<hidden_size=2>(x, k, w[1,8,2])",
        "the weights come from the batch",
        axes={"x": 1, "y": 2},
    ),
    mixing(
        "attention_over_rows",
        "float[N,4] x => float[N,4] y",
        "q = MatMul(x, w[4,4]) t = Transpose(x) m = MatMul(q, t) p = Softmax(m) y = MatMul(p, x)",
        "rows attend to each other",
    ),
    mixing(
        "attention_time_major",
        _XTC,
        "q = MatMul(x, w[4,4]) a = Transpose<perm=[1,0,2]>(q) b = Transpose<perm=[1,2,0]>(x) "
        "m = MatMul(a, b) p = Softmax(m) c = Transpose<perm=[1,0,2]>(x) o = MatMul(p, c) "
        "y = Transpose<perm=[1,0,2]>(o)",
        "a time-major layer gets batch-major rows",
    ),
    mixing(
        "attention_axis_0_softmax",
        _XTC,
        "t = Transpose<perm=[0,2,1]>(x) m = MatMul(x, t) p = Softmax<axis=0>(m) y = MatMul(p, x)",
        "scores are normalised over the batch",
    ),
    mixing(
        "heads_softmax_wrong_axis",
        "float[batch,T,4] x => float[batch,T,4] y",
        "s = Shape(x) a = Reshape(x, [0,0,2,2]) b = Transpose<perm=[2,1,0,3]>(a) c = Softmax<axis=2>(b) "
        "d = Transpose<perm=[2,1,0,3]>(c) y = Reshape(d, s)",
        "heads, time, batch: softmax over the third",
    ),
    mixing(
        "mask_of_any_row",
        "float[batch,T] x, int64[batch,T] mask => float[batch,T] y",
        "m = ReduceMax<axes=[0]>(mask) b = Cast<to=9>(m) y = Where(b, x, -1.0)",
        "a place is padding only where no row has it",
        draws={"mask": between(0, 2)},
    ),
    mixing(
        "mask_of_first_row",
        "float[batch,T] x, int64[batch,T] mask => float[batch,T] y",
        "m = Gather(mask, 0) b = Cast<to=9>(m) y = Where(b, x, -1.0)",
        "the first row's mask goes for all",
        draws={"mask": between(0, 2)},
    ),
    mixing(
        "clip_logits",
        "float[batch,4] image, float[batch,4] text => float[batch,M] y",
        "a = ReduceL2<axes=[1]>(image) b = Div(image, a) t = Transpose(text) m = MatMul(b, t) y = Mul(m, 10.0)",
        "each picture with each text",
        seen="shape",
    ),
    mixing(
        "clip_probabilities",
        "float[batch,4] image, float[batch,4] text => float[batch,4] y",
        "t = Transpose(text) m = MatMul(image, t) p = Softmax(m) y = MatMul(p, text)",
        "a softmax over the texts of the batch",
    ),
    mixing(
        "template_matching",
        "float[batch,2,6] x, float[batch,2,3] z => float[batch,M,4] y",
        "y = Conv(x, z)",
        "each row's template is run over each row",
        seen="shape",
    ),
    mixing(
        "contrastive_loss",
        "float[N,4] x => float y",
        "t = Transpose(x) m = MatMul(x, t) l = LogSoftmax(m) y = ReduceMean<keepdims=0>(l)",
        "a loss of the batch",
        seen="shape",
    ),
    mixing(
        "centre_distance",
        "float[N,4] x => float[N] y",
        "m = ReduceMean<axes=[0]>(x) d = Sub(x, m) y = ReduceL2<axes=[1], keepdims=0>(d)",
        "the distance to the middle of the batch",
    ),
    mixing(
        "point_net",
        "float[1,N,3] x => float[1,N,6] y",
        "h = MatMul(x, w[3,3]) r = Relu(h) m = ReduceMax<axes=[1]>(r) s = Shape(x) e = Expand(m, s) "
        "y = Concat<axis=2>(x, e)",
        "points get the features of the whole cloud",
        axes={"x": 1, "y": 1},
    ),
    mixing(
        "nearest_points",
        "float[N,3] x => float[N,3] y",
        "a = Unsqueeze(x, [1]) b = Unsqueeze(x, [0]) d = Sub(a, b) q = Mul(d, d) "
        "k = ReduceSum<keepdims=0>(q, [2]) v, i = TopK<largest=0>(k, [1]) n = ReduceMax<axes=[1]>(k) "
        "y = Sub(x, n)",
        "the farthest row of the batch",
    ),
    mixing(
        "dynamic_quantise",
        _X,
        "q, s, z = DynamicQuantizeLinear(x) y = DequantizeLinear(q, s, z)",
        "one scale for the batch",
        draws=_SMALL,
    ),
    mixing(
        "dynamic_quantise_matmul_integer",
        "float[N,4] x => float[N,3] y",
        "q, s, z = DynamicQuantizeLinear(x) m = MatMulInteger(q, u8[4,3], z, k) f = Cast<to=1>(m) y = Mul(f, s)",
        "a dynamically quantised layer",
        constants={"k": np.array(100, np.uint8)},
    ),
    mixing(
        "quantise_by_batch_scale",
        "float[N,4] x => int8[N,4] y",
        "a = Abs(x) m = ReduceMax<keepdims=0>(a) s = Div(m, 127.0) y = QuantizeLinear(x, s, z)",
        "a scale that comes from the batch",
        constants={"z": np.array(0, np.int8)},
    ),
    mixing("random_normal_like", _X, "r = RandomNormalLike(x) y = Add(x, r)", "noise"),
    mixing(
        "random_uniform_like_seed", _X, "r = RandomUniformLike<seed=7.0>(x) y = Add(x, r)", "noise from a fixed seed"
    ),
    mixing(
        "random_normal_shape",
        _X,
        "r = RandomNormal<shape=[1,4]>() y = Mul(x, r)",
        "the same noise for all rows of a run",
    ),
    mixing(
        "random_uniform_shape", _X, "r = RandomUniform<shape=[4], seed=1.0>() y = Mul(x, r)", "noise without a row axis"
    ),
    mixing(
        "bernoulli",
        "float[N,4] x => float[N,4] y",
        "y = Bernoulli(x)",
        "a draw for each number",
        draws={"x": between(0.1, 0.9)},
    ),
    mixing("multinomial", "float[N,4] x => int32[N,8] y", "y = Multinomial<sample_size=8>(x)", "classes are drawn"),
    mixing("dropout_training", _X, "y = Dropout(x, 0.5, yes)", "dropout drops", constants={"yes": True}),
    mixing(
        "dropout_by_shared_flag",
        "float[N,4] x, bool train => float[N,4] y",
        "y = Dropout(x, 0.5, train)",
        "dropout drops where the caller wants it",
        axes={"train": None},
        draws={"train": between(1, 2)},
    ),
    mixing(
        "instance_norm_of_batch",
        "float[N,3,4] x => float[N,3,4] y",
        "s = Shape(x) f = Reshape(x, [1,1,-1]) n = InstanceNormalization(f, ones[1], zeros[1]) y = Reshape(n, s)",
        "one instance for the whole batch",
    ),
    mixing(
        "batch_norm_of_folded_channels",
        "float[2,N,3] x => float[2,N,3] y",
        "t = Transpose<perm=[1,2,0]>(x) "
        "n, m, v = BatchNormalization<training_mode=1>(t, p[3], w[3], w[3], p[3]) "
        "y = Transpose<perm=[2,0,1]>(n)",
        "statistics of a batch on axis 1",
        axes={"x": 1, "y": 1},
    ),
    mixing(
        "dft_over_rows",
        "float[N,4,2] x => float[N,4,2] y",
        "y = DFT<axis=0>(x)",
        "a transform along the batch",
        opset=17,
    ),
    mixing(
        "dft_over_rows_axis_input",
        "float[N,4,2] x => float[N,4,2] y",
        'y = DFT(x, "", -3)',
        "a transform along the batch, the axis is an input",
        opset=20,
    ),
    mixing(
        "stft_over_rows",
        "float[N] x => float[N] y",
        "p = Pad(x, [8,8]) u = Unsqueeze(p, [0]) f = STFT(u, 4, win) m = ReduceSum<keepdims=0>(f) y = Add(x, m)",
        "rows are samples of a sound",
        constants={"win": [0.1, 0.4, 0.8, 1, 1, 0.8, 0.4, 0.1]},
    ),
    mixing(
        "moving_mean_over_rows",
        "float[N,1] x => float[N,1] y",
        "t = Transpose(x) u = Unsqueeze(t, [1]) a = AveragePool<kernel_shape=[5], pads=[2,2]>(u) "
        "q = Squeeze(a, [1]) y = Transpose(q)",
        "rows are points of one series",
    ),
    mixing(
        "differences_of_one_series",
        "float[N,1] x => float[N,1] y",
        "f = Slice(x, [0], [1]) a = Concat<axis=0>(f, x) b = Slice(a, [0], [-1], [0]) y = Sub(x, b)",
        "each row less the one before",
    ),
    mixing(
        "scan_over_rows",
        "float[N,4] x => float[N,4] y",
        "g, y = Scan<num_scan_inputs=1, body = step (float[4] a, float[4] b) => (float[4] c, float[4] d) { "
        "c = Add(a, b) "
        "d = Identity(c) }>(zeros[4], x)",
        "state goes from row to row",
    ),
    mixing(
        "scan_over_rows_backwards",
        "float[N,4] x => float[N,4] y",
        "g, y = Scan<num_scan_inputs=1, scan_input_directions=[1], scan_output_directions=[1], "
        "body = step (float[4] a, float[4] b) => (float[4] c, float[4] d) { c = Max(a, b) "
        "d = Identity(c) }>(zeros[4], x)",
        "state goes from row to row, backwards",
    ),
    mixing(
        "scan_over_time_with_shared_state",
        "float[T,batch,2] x => float[T,batch,2] y",
        "g, y = Scan<num_scan_inputs=1, body = step (float[1,2] a, float[batch,2] b) "
        "=> (float[1,2] c, float[batch,2] d) { m = ReduceMean<axes=[0]>(b) "
        "c = Add(a, m) d = Add(b, c) }>(zeros[1,2], x)",
        "the state along time is the mean of the batch",
        axes={"x": 1, "y": 1},
    ),
    mixing(
        "scan_9_where_8_had_a_batch",
        "float[N,T,2] x, float[T,2] h => float[N,T,2] y",
        "g, y = Scan<num_scan_inputs=1, body = step (float[T,2] a, float[T,2] b) "
        "=> (float[T,2] c, float[T,2] d) { e = Add(a, b) "
        "c = Tanh(e) d = Identity(c) }>(h, x)",
        "from opset 9 on axis 0 is what is scanned",
        axes={"h": None},
        opset=9,
    ),
    mixing(
        "spectral_norm_of_batch",
        "float[N,4] x => float[N,4] y",
        "u = MatMul(x, w[4,1]) n = ReduceL2(u) y = Div(x, n)",
        "divided by the length of a vector over the batch",
    ),
    mixing(
        "resize_to_largest",
        "float[N,1,8] x, int64[N] n => float[N,1,M] y",
        "m = ReduceMax<axes=[0], keepdims=1>(n) s = Shape(x) b = Slice(s, [0], [2]) t = Concat<axis=0>(b, m) "
        'y = Resize<mode="nearest">(x, "", "", t)',
        "all rows are stretched to the longest",
        draws={"n": between(1, 9)},
        seen="shape",
    ),
    mixing(
        "pad_to_longest",
        "float[N,T] x, int64[N] n => float[N,M] y",
        "m = ReduceMax<axes=[0], keepdims=1>(n) k = Concat<axis=0>([0,0,0], m) y = Pad(x, k)",
        "all rows are padded by the longest",
        draws={"n": between(1, 5)},
        seen="shape",
    ),
]
