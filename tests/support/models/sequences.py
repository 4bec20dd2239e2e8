"""Tiny real forecasters and a tiny translator."""

from collections.abc import Mapping
from typing import Any

from model_store.files.integrity import describe_bytes
from model_store.tasks import Carry, Forecast, Loop, Text
from service.tasks.work import Limits
from tests.support.driving import Driver, describe
from tests.support.models.text import make_model

LIMITS = Limits(max_pixels=1, state_key=b"a key of the tests")


class Model(Driver):
    """A forecaster or translator of these graphs."""

    def __init__(self, graphs: Mapping[str, bytes], **facts: Any) -> None:
        files = {f"{name}.onnx": describe_bytes(content) for name, content in graphs.items()}
        super().__init__(describe(graphs, task="predict_sequence", files=files, **facts), graphs)


def monthly_forecaster(quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)) -> Model:
    """At once: the three quantiles of three steps are 2 * last value + month - 1, + 0 and + 1."""
    graph = make_model(
        "float[batch,time] history, int64[batch] month => float[batch,3,3] forecast",
        """
        last = Gather<axis=1>(history, [-1]) twice = Mul(last, 2.0)
        number = Cast<to=1>(month) column = Unsqueeze(number, [1]) centre = Add(twice, column)
        cube = Unsqueeze(centre, [2,3]) square = Squeeze(cube, [3]) forecast = Add(square, spread)
        """,
        spread=[[-1.0, 0.0, 1.0]] * 3,
    )
    facts = Forecast(
        history="history", output="forecast", horizon=3, quantiles=quantiles, least_history=2, max_history=50
    )
    return Model({"main": graph}, forecast=facts)


_HISTORY = "float[batch,time] history, int64[batch] length"
_MASKED_SUM = """
    shape = Shape(history) size = Gather(shape, 1) positions = Range(0, size, 1) lengths = Unsqueeze(length, [1])
    counts = Less(positions, lengths) masked = Where(counts, history, 0.0) sum = ReduceSum<keepdims=1>(masked, [1])
"""
"""sum: [batch, 1], of the values that count."""


def summing_forecaster() -> Model:
    """At once, padded: both steps are the sum of the history."""
    graph = make_model(f"{_HISTORY} => float[batch,2] forecast", _MASKED_SUM + "forecast = Concat<axis=1>(sum, sum)")
    facts = Forecast(history="history", length="length", output="forecast", horizon=2, max_history=50)
    return Model({"main": graph}, forecast=facts)


def rolling_forecaster(with_noise: bool = True, resumes: bool = True, **facts: Any) -> Model:
    """A loop: next value = 0.5 * value + state + noise, state + 1; it starts with the last value of the history and
    the sum of all values, those before the resumed state included.
    """
    start = make_model(
        f"{_HISTORY}{', float[batch,1] before' if resumes else ''} => float[batch] value, float[batch,1] state",
        f"""
        {_MASKED_SUM} state = {"Add(sum, before)" if resumes else "Identity(sum)"}
        end = Sub(lengths, 1) ends = GatherElements<axis=1>(history, end) value = Squeeze(ends, [1])
        """,
    )
    step = make_model(
        f"float[batch] value, float[batch,1] state{', float[batch] noise' if with_noise else ''} "
        "=> float[batch] next, float[batch,1] next_state",
        f"""
        halved = Mul(value, 0.5) flat = Squeeze(state, [1]) centre = Add(halved, flat)
        next = {"Add(centre, noise)" if with_noise else "Identity(centre)"} next_state = Add(state, 1.0)
        """,
    )
    carries = (
        Carry(input="value", output="next", start="value"),
        Carry(input="state", output="next_state", start="state", resume="before" if resumes else None),
    )
    noise = {"noise": "noise"} if with_noise else {}
    known = Forecast(
        history="history", length="length", output="next", least_history=2, max_history=50, **noise, **facts
    )
    return Model(
        {"main": step, "begin": start}, loop=Loop(start="begin", carries=carries, max_steps=40), forecast=known
    )


def sliding_forecaster() -> Model:
    """A loop without a start graph: next value = sum of the history + steps so far; it joins the history, which the
    oldest one leaves.
    """
    step = make_model(
        "float[batch,time] history, float[batch,1] count "
        "=> float[batch] next, float[batch,time] next_history, float[batch,1] next_count",
        f"""
        sum = ReduceSum<keepdims=1>(history, [1]) column = Add(sum, count) next = Squeeze(column, [1])
        longer = Concat<axis=1>(history, column) next_history = Slice(longer, [1], [{1 << 40}], [1])
        next_count = Add(count, 1.0)
        """,
    )
    carries = (Carry(input="history", output="next_history"), Carry(input="count", output="next_count"))
    facts = Forecast(history="history", output="next")
    return Model({"main": step}, loop=Loop(carries=carries, max_steps=10), forecast=facts)


SCORE = 4.0
"""How much likelier than the others, as a logarithm, the translator finds the right symbol."""


def translator(max_steps: int = 8) -> Model:
    """Writes a, b, c as x, yy, z, and then ends: a step looks at the place in the source that its counter says."""
    start = make_model(
        "int64[batch,length] source => float[batch,longer] memory",
        """
        copied = Cast<to=1>(source) shape = Shape(source) size = Gather(shape, [0]) column = Concat<axis=0>(size, [1])
        end = ConstantOfShape(column) memory = Concat<axis=1>(copied, end)
        """,
    )
    step = make_model(
        "int64[batch] token, int64[batch,1] place, float[batch,longer] memory "
        "=> float[batch,5] scores, int64[batch,1] next_place",
        f"""
        found = GatherElements<axis=1>(memory, place) character = Cast<to=7>(found) right = Add(character, 1)
        is_right = Equal(right, every) likely = Cast<to=1>(is_right) scaled = Mul(likely, {SCORE})
        scores = LogSoftmax<axis=1>(scaled) next_place = Add(place, 1)
        """,
        every=[range(5)],
    )
    carries = (Carry(input="place", output="next_place"), Carry(input="memory", start="memory"))
    text = Text(
        source="source",
        characters=("", "a", "b", "c"),
        lengths=(2, 4, 8),
        token="token",
        scores="scores",
        symbols=("", "", "x", "yy", "z"),
        begin=0,
        end=1,
    )
    return Model(
        {"main": step, "read": start}, loop=Loop(start="read", carries=carries, max_steps=max_steps), text=text
    )
