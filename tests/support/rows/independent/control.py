"""Rows stay apart in graphs with branches, loops and functions."""

from tests.support.rows.case import read_cases

_TABLE = """
if_constant_true (constants yes): the branch that mixes is never taken
    y = If<then_branch = a () => (float[N,4] p) { p = Relu(x) },
    else_branch = b () => (float[N,4] q) { q = CumSum(x, 0) }>(yes)
if_rank_squeezes: TorchScript's squeeze(1): a length is compared with 1
    float[N,1,4] x => float[N,4] y
    s = Shape(x) l = Gather(s, 1) c = Equal(l, 1)
    y = If<then_branch = a () => (float[N,4] p) { p = Squeeze(x, [1]) },
    else_branch = b () => (float[N,1,4] q) { q = Identity(x) }>(c)
if_time_is_short: both branches keep rows apart
    float[N,T] x => float[N,T] y
    s = Shape(x) t = Gather(s, 1) c = Less(t, 6)
    y = If<then_branch = a () => (float[N,T] p) { p = Relu(x) },
    else_branch = b () => (float[N,T] q) { m = ReduceMean<axes=[1]>(x) q = Sub(x, m) }>(c)
if_shared_flag (axes flag=None): a flag that all rows share
    float[N,4] x, bool flag => float[N,4] y
    y = If<then_branch = a () => (float[N,4] p) { p = Relu(x) },
    else_branch = b () => (float[N,4] q) { q = Softmax(x) }>(flag)
function_of_rows: a function, twice
    a = local.dense(x, w[4,4], w[4]) y = local.dense(a, w[4,4], w[4])
    def dense (x, k, b) => (y) { m = MatMul(x, k) a = Add(m, b) y = Relu(a) }
function_with_attribute: the axis is an attribute of the call
    float[N,T,4] x => float[N,T,4] y
    a = local.normalise<over=1>(x) y = local.normalise<over=2>(a)
    def normalise <over>(x) => (y) { y = Softmax<axis: int = @over>(x) }
function_in_function: functions call functions
    y = local.outer(x)
    def inner (x) => (y) { y = Sigmoid(x) }
    def outer (x) => (y) { a = local.inner(x) y = Mul(a, x) }
optional_in_and_out: through an optional value
    o = Optional(x) e = OptionalGetElement(o) y = Tanh(e)
scan_8_has_a_batch (opset 8): in opset 8 axis 0 is the batch and time is axis 1
    float[N,T,2] x, float[N,2] h => float[N,T,2] y
    g, y = Scan<num_scan_inputs=1, body = step (float[2] a, float[2] b) => (float[2] c, float[2] d) { e = Add(a, b)
    c = Tanh(e) d = Identity(c) }>("", h, x)
function_with_branch (constants no): a branch in a function
    y = local.choose(x, no)
    def choose (x, c) => (y) { y = If<then_branch = a () => (p) { p = Tanh(x) },
    else_branch = b () => (q) { q = Neg(x) }>(c) }
"""

CASES = read_cases("independent", _TABLE, constants={"yes": True, "no": False})
