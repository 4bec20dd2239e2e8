"""Rows mix where they are cut, joined, padded, pooled or stretched."""

from tests.support.rows.case import read_cases

_TABLE = """
roll: rows move by one
    p = Slice(x, [1], [999], [0]) q = Slice(x, [0], [1], [0]) y = Concat<axis=0>(p, q)
roll_last_first: rows move by one the other way, negative axes
    p = Slice(x, [-1], [999], [-2]) q = Slice(x, [0], [-1], [0]) y = Concat<axis=-2>(p, q)
roll_9 (opset 9): starts and ends are attributes
    p = Slice<starts=[1], ends=[2147483647], axes=[0]>(x) q = Slice<starts=[0], ends=[1]>(x) y = Concat<axis=0>(p, q)
reverse: a negative step
    y = Slice(x, [-1], [-999], [0], [-1])
every_second (seen shape): every second row
    y = Slice(x, [0], [999], [0], [2])
last_row_added: the last row goes to all
    f = Slice(x, [-1], [9999], [0]) y = Add(x, f)
difference_of_rows (seen shape): a row less than there were
    float[N,4] x => float[M,4] y | a = Slice(x, [1], [9999], [0]) b = Slice(x, [0], [-1], [0]) y = Sub(a, b)
first_8_rows (seen shape; unseen 1,3,5,8): the ninth row is lost
    float[N,4] x => float[M,4] y | y = Slice(x, [0], [8], [0])
expand_first_row: all rows are the first
    f = Slice(x, [0], [1], [0]) s = Shape(x) y = Expand(f, s)
halves_added (opset 13; seen failure): the halves of the batch are added: fails for one row
    float[N,4] x => float[M,4] y | a, b = Split<axis=0>(x) y = Add(a, b)
split_first (seen shape): the first row is split off
    float[N,4] x => float[1,4] y
    s = Shape(x) n = Gather(s, [0]) k = Sub(n, [1]) t = Concat<axis=0>([1], k) y, z = Split<axis=0>(x, t)
stack_then_halve: two for each row, interleaved, then the first half is taken
    a = Unsqueeze(x, [1]) n = Neg(a) c = Concat<axis=1>(a, n) f = Reshape(c, [-1,4]) s = Shape(x) e = Slice(s, [0], [1])
    y = Slice(f, [0], e, [0])
tile_read_as_repeat: the batch is tiled and read as if each row were repeated
    float[N,4] x => float[N,2,4] y | t = Tile(x, [2,1]) y = Reshape(t, [-1,2,4])
guidance_misaligned: both halves of a doubled batch, cut one row too late
    n = Neg(x) c = Concat<axis=0>(x, n) s = Shape(x) e = Slice(s, [0], [1]) f = Add(e, [1]) y = Slice(c, [1], f, [0])
interleaved_guidance: halves of a doubled batch are read as pairs
    n = Mul(x, 0.5) c = Concat<axis=0>(x, n) r = Reshape(c, [-1,2,4]) y = ReduceMean<axes=[1], keepdims=0>(r)
concat_shifted_copy: each row gets the row before it
    float[N,4] x => float[N,8] y | p = Pad(x, [1,0,0,0]) q = Slice(p, [0], [-1], [0]) y = Concat<axis=1>(x, q)
token_joined_to_rows: a class token is put before the rows and the last row is lost
    c = Concat<axis=0>(w[1,4], x) y = Slice(c, [0], [-1], [0])
token_as_row (seen shape): one row more than there were
    float[N,4] x => float[M,4] y | y = Concat<axis=0>(x, w[1,4])
pad_edge_shift: rows move by two, the last is repeated
    p = Pad<mode="edge">(x, [0,0,2,0]) y = Slice(p, [2], [99999], [0])
pad_reflect_rows (opset 11; seen failure): the row before the last is appended
    float[N,4] x => float[M,4] y | y = Pad<mode="reflect">(x, [0,0,1,0])
conv_along_rows: the batch is the length of a convolution
    t = Transpose(x) u = Unsqueeze(t, [0]) c = Conv<pads=[1,1]>(u, w[4,4,3]) q = Squeeze(c, [0]) y = Transpose(q)
max_pool_along_rows: the batch is the height of a picture
    u = Unsqueeze(x, [0,1]) c = MaxPool<kernel_shape=[3,1], pads=[1,0,1,0]>(u) y = Squeeze(c, [0,1])
average_pool_rows_as_length: the mean of a row and the two before it
    t = Transpose(x) u = Unsqueeze(t, [0]) c = AveragePool<kernel_shape=[3], pads=[2,0]>(u) q = Squeeze(c, [0])
    y = Transpose(q)
global_pool_all_rows: a global pool over the batch
    t = Transpose(x) u = Unsqueeze(t, [0]) c = GlobalAveragePool(u) q = Squeeze(c, [0,2]) y = Sub(x, q)
lrn_across_rows: the batch is the channels of a response normalisation
    u = Unsqueeze(x, [0,3]) c = LRN<size=3, alpha=1.0>(u) y = Squeeze(c, [0,3])
resize_rows (sizes 2,8,24,1; seen failure): the batch is made half as long and stretched again
    u = Unsqueeze(x, [0,1]) r = Resize<mode="linear">(u, "", [1.0,1.0,0.5,1.0]) s = Shape(u)
    b = Resize<mode="nearest">(r, "", "", s) y = Squeeze(b, [0,1])
upsample_rows_then_cut (opset 9): each row twice, and the first half of them
    r = Upsample<mode="nearest">(x, [2.0,1.0]) h = Reshape(r, [2,-1,4]) y = Gather<axis=0>(h, 0)
center_crop_rows (opset 18; seen shape): the middle rows of the batch
    float[N,4] x => float[4,4] y | y = CenterCropPad<axes=[0]>(x, [4])
sequence_reversed: the first and last row out of a sequence
    q = SplitToSequence<axis=0>(x) e = SequenceEmpty<dtype=1>() l = SequenceAt(q, -1) f = SequenceAt(q, 0) d = Sub(l, f)
    y = Add(x, d)
sequence_joined (seen shape): the first row once more, through a sequence
    float[N,4] x => float[M,4] y
    q = SplitToSequence<axis=0>(x) a = SequenceAt(q, 0) i = SequenceInsert(q, a) y = ConcatFromSequence<axis=0>(i)
sequence_stacked_first: two batches are stacked as [2,N] and read as [N,2]
    float[N,4] x => float[N,2,4] y
    m = Neg(x) q = SequenceConstruct(x, m) c = ConcatFromSequence<axis=0, new_axis=1>(q) y = Reshape(c, [-1,2,4])
sequence_joined_as_pairs: two batches are joined and read as pairs
    float[N,4] x => float[N,2,4] y
    m = Neg(x) q = SequenceConstruct(x, m) c = ConcatFromSequence<axis=0>(q) y = Reshape(c, [-1,2,4])
"""

CASES = read_cases("mixing", _TABLE)
