"""Rows mix where they are cut, joined, padded, pooled or stretched."""

from tests.support.rows.case import Case, mixing

_X = "float[N,4] x => float[N,4] y"

CASES: list[Case] = [
    mixing(
        "roll",
        _X,
        "p = Slice(x, [1], [999], [0]) q = Slice(x, [0], [1], [0]) y = Concat<axis=0>(p, q)",
        "rows move by one",
    ),
    mixing(
        "roll_last_first",
        _X,
        "p = Slice(x, [-1], [999], [-2]) q = Slice(x, [0], [-1], [0]) y = Concat<axis=-2>(p, q)",
        "rows move by one the other way, negative axes",
    ),
    mixing(
        "roll_9",
        _X,
        "p = Slice<starts=[1], ends=[2147483647], axes=[0]>(x) q = Slice<starts=[0], ends=[1]>(x) "
        "y = Concat<axis=0>(p, q)",
        "starts and ends are attributes",
        opset=9,
    ),
    mixing("reverse", _X, "y = Slice(x, [-1], [-999], [0], [-1])", "a negative step"),
    mixing("every_second", _X, "y = Slice(x, [0], [999], [0], [2])", "every second row", seen="shape"),
    mixing("first_row_subtracted", _X, "f = Slice(x, [0], [1]) y = Sub(x, f)", "the first row goes to all"),
    mixing("last_row_added", _X, "f = Slice(x, [-1], [9999], [0]) y = Add(x, f)", "the last row goes to all"),
    mixing(
        "difference_of_rows",
        "float[N,4] x => float[M,4] y",
        "a = Slice(x, [1], [9999], [0]) b = Slice(x, [0], [-1], [0]) y = Sub(a, b)",
        "a row less than there were",
        seen="shape",
    ),
    mixing(
        "first_8_rows",
        "float[N,4] x => float[M,4] y",
        "y = Slice(x, [0], [8], [0])",
        "the ninth row is lost",
        seen="shape",
        unseen=(1, 3, 5, 8),
    ),
    mixing(
        "expand_first_row", _X, "f = Slice(x, [0], [1], [0]) s = Shape(x) y = Expand(f, s)", "all rows are the first"
    ),
    mixing(
        "halves_added",
        "float[N,4] x => float[M,4] y",
        "a, b = Split<axis=0>(x) y = Add(a, b)",
        "the halves of the batch are added: fails for one row",
        opset=13,
        seen="failure",
    ),
    mixing(
        "split_first",
        "float[N,4] x => float[1,4] y",
        "s = Shape(x) n = Gather(s, [0]) k = Sub(n, [1]) t = Concat<axis=0>([1], k) y, z = Split<axis=0>(x, t)",
        "the first row is split off",
        seen="shape",
    ),
    mixing(
        "stack_then_halve",
        _X,
        "a = Unsqueeze(x, [1]) n = Neg(a) c = Concat<axis=1>(a, n) f = Reshape(c, [-1,4]) s = Shape(x) "
        "e = Slice(s, [0], [1]) y = Slice(f, [0], e, [0])",
        "two for each row, interleaved, then the first half is taken",
    ),
    mixing(
        "tile_read_as_repeat",
        "float[N,4] x => float[N,2,4] y",
        "t = Tile(x, [2,1]) y = Reshape(t, [-1,2,4])",
        "the batch is tiled and read as if each row were repeated",
    ),
    mixing(
        "guidance_misaligned",
        _X,
        "n = Neg(x) c = Concat<axis=0>(x, n) s = Shape(x) e = Slice(s, [0], [1]) f = Add(e, [1]) "
        "y = Slice(c, [1], f, [0])",
        "both halves of a doubled batch, cut one row too late",
    ),
    mixing(
        "interleaved_guidance",
        _X,
        "n = Mul(x, 0.5) c = Concat<axis=0>(x, n) r = Reshape(c, [-1,2,4]) y = ReduceMean<axes=[1], keepdims=0>(r)",
        "halves of a doubled batch are read as pairs",
    ),
    mixing(
        "concat_shifted_copy",
        "float[N,4] x => float[N,8] y",
        "p = Pad(x, [1,0,0,0]) q = Slice(p, [0], [-1], [0]) y = Concat<axis=1>(x, q)",
        "each row gets the row before it",
    ),
    mixing(
        "token_joined_to_rows",
        _X,
        "c = Concat<axis=0>(w[1,4], x) y = Slice(c, [0], [-1], [0])",
        "a class token is put before the rows and the last row is lost",
    ),
    mixing(
        "token_as_row",
        "float[N,4] x => float[M,4] y",
        "y = Concat<axis=0>(x, w[1,4])",
        "one row more than there were",
        seen="shape",
    ),
    mixing(
        "pad_edge_shift",
        "float[N,4] x => float[N,4] y",
        'p = Pad<mode="edge">(x, [0,0,2,0]) y = Slice(p, [2], [99999], [0])',
        "rows move by two, the last is repeated",
    ),
    mixing(
        "pad_reflect_rows",
        "float[N,4] x => float[M,4] y",
        'y = Pad<mode="reflect">(x, [0,0,1,0])',
        "the row before the last is appended",
        opset=11,
        seen="failure",
    ),
    mixing(
        "conv_along_rows",
        _X,
        "t = Transpose(x) u = Unsqueeze(t, [0]) c = Conv<pads=[1,1]>(u, w[4,4,3]) q = Squeeze(c, [0]) y = Transpose(q)",
        "the batch is the length of a convolution",
    ),
    mixing(
        "max_pool_along_rows",
        _X,
        "u = Unsqueeze(x, [0,1]) c = MaxPool<kernel_shape=[3,1], pads=[1,0,1,0]>(u) y = Squeeze(c, [0,1])",
        "the batch is the height of a picture",
    ),
    mixing(
        "average_pool_rows_as_length",
        _X,
        "t = Transpose(x) u = Unsqueeze(t, [0]) c = AveragePool<kernel_shape=[3], pads=[2,0]>(u) "
        "q = Squeeze(c, [0]) y = Transpose(q)",
        "the mean of a row and the two before it",
    ),
    mixing(
        "global_pool_all_rows",
        _X,
        "t = Transpose(x) u = Unsqueeze(t, [0]) c = GlobalAveragePool(u) q = Squeeze(c, [0,2]) y = Sub(x, q)",
        "a global pool over the batch",
    ),
    mixing(
        "lrn_across_rows",
        "float[N,4] x => float[N,4] y",
        "u = Unsqueeze(x, [0,3]) c = LRN<size=3, alpha=1.0>(u) y = Squeeze(c, [0,3])",
        "the batch is the channels of a response normalisation",
    ),
    mixing(
        "resize_rows",
        "float[N,4] x => float[N,4] y",
        'u = Unsqueeze(x, [0,1]) r = Resize<mode="linear">(u, "", [1.0,1.0,0.5,1.0]) s = Shape(u) '
        'b = Resize<mode="nearest">(r, "", "", s) y = Squeeze(b, [0,1])',
        "the batch is made half as long and stretched again",
        sizes=(2, 8, 24, 1),
        seen="failure",
    ),
    mixing(
        "resize_doubles_rows",
        "float[N,1,2,2] x => float[M,1,2,2] y",
        'y = Resize<mode="nearest">(x, "", [2.0,1.0,1.0,1.0])',
        "each row twice",
        seen="shape",
    ),
    mixing(
        "upsample_rows_then_cut",
        _X,
        'r = Upsample<mode="nearest">(x, [2.0,1.0]) h = Reshape(r, [2,-1,4]) y = Gather<axis=0>(h, 0)',
        "each row twice, and the first half of them",
        opset=9,
    ),
    mixing(
        "center_crop_rows",
        "float[N,4] x => float[4,4] y",
        "y = CenterCropPad<axes=[0]>(x, [4])",
        "the middle rows of the batch",
        opset=18,
        seen="shape",
    ),
    mixing(
        "sequence_reversed",
        _X,
        "q = SplitToSequence<axis=0>(x) e = SequenceEmpty<dtype=1>() l = SequenceAt(q, -1) "
        "f = SequenceAt(q, 0) d = Sub(l, f) y = Add(x, d)",
        "the first and last row out of a sequence",
    ),
    mixing(
        "sequence_joined",
        "float[N,4] x => float[M,4] y",
        "q = SplitToSequence<axis=0>(x) a = SequenceAt(q, 0) i = SequenceInsert(q, a) "
        "y = ConcatFromSequence<axis=0>(i)",
        "the first row once more, through a sequence",
        seen="shape",
    ),
    mixing(
        "sequence_stacked_first",
        "float[N,4] x => float[N,2,4] y",
        "m = Neg(x) q = SequenceConstruct(x, m) c = ConcatFromSequence<axis=0, new_axis=1>(q) y = Reshape(c, [-1,2,4])",
        "two batches are stacked as [2,N] and read as [N,2]",
    ),
    mixing(
        "sequence_joined_as_pairs",
        "float[N,4] x => float[N,2,4] y",
        "m = Neg(x) q = SequenceConstruct(x, m) c = ConcatFromSequence<axis=0>(q) y = Reshape(c, [-1,2,4])",
        "two batches are joined and read as pairs",
    ),
]
