"""Which requests are traced, and the headers of W3C Trace Context."""

import random

import pytest

from service.settings import SettingsError
from service.telemetry.context import TraceContext, read_context, render_context, trace_id_of
from service.telemetry.sampling import MOST_PER_S, Sampling, read_sampling

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "junk",
        f"00-{TRACE}-{SPAN}",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
    ],
)
def test_invalid_context_is_as_if_there_were_none(text: str):
    """A header that does not follow the specification is ignored."""
    assert read_context(text.encode()) is None
    assert trace_id_of(text.encode()) == ""


def test_context_of_a_later_version_is_read():
    """Fields behind those of version 00 are ignored in later versions (section 4 of the specification)."""
    found = read_context(f"cc-{TRACE}-{SPAN}-03-what-is-new".encode(), b"a=1")
    assert found == TraceContext(int(TRACE, 16), int(SPAN, 16), True, "a=1")
    assert render_context(found.trace_id, found.span_id) == f"00-{TRACE}-{SPAN}-01"


def test_caller_decides_where_it_says():
    """A sampled caller's trace goes on, and one that is not sampled does not begin anew."""
    sampling = Sampling(0.0)
    assert sampling.choose(TraceContext(7, 8, True)) == 7
    assert Sampling(1.0).choose(TraceContext(7, 8, False)) == 0
    assert sampling.choose(None) == 0


def test_share_of_the_others_is_chosen_by_their_ids():
    """The share of new traces is as asked, and every one of them would be chosen by its id too."""
    random.seed(5)
    sampling = Sampling(0.25, follows_caller=False)
    chosen = [trace_id for _ in range(4000) if (trace_id := sampling.choose(None))]
    assert 850 < len(chosen) < 1150
    assert len(set(chosen)) == len(chosen)
    assert all(trace_id < 1 << 128 for trace_id in chosen)
    assert all(sampling.choose(TraceContext(trace_id, 1, False)) == trace_id for trace_id in chosen)
    assert all(Sampling(1.0).choose(None) for _ in range(10))


@pytest.mark.parametrize(
    ("environ", "share", "follows"),
    [
        ({}, 0.01, True),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, 1.0, False),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, 0.0, False),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, 1.0, True),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, 0.5, True),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"}, 1.0, False),
    ],
)
def test_variables_of_opentelemetry_count_before_the_setting(environ: dict[str, str], share: float, follows: bool):
    """The samplers mean what the specification says."""
    found = read_sampling(0.01, environ)
    assert (found.share, found.follows_caller) == (share, follows)


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_TRACES_SAMPLER": "jaeger_remote"},
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "many"},
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"},
    ],
)
def test_sampler_that_is_not_known_is_refused(environ: dict[str, str]):
    """A misspelt sampler or share is refused."""
    with pytest.raises(SettingsError, match="OTEL_TRACES_SAMPLER"):
        read_sampling(0.01, environ)


def test_worker_begins_so_many_traces_a_second():
    """Above the limit a request is not traced unless its caller says so; in the next second traces begin again."""
    now = 5.0
    sampling = Sampling(1.0, most_per_s=3, clock=lambda: now)
    assert [sampling.choose(None) > 0 for _ in range(5)] == [True] * 3 + [False] * 2
    assert sampling.choose(TraceContext(7, 8, True)) == 7
    now = 6.0
    assert sampling.choose(None) > 0


def test_setting_has_a_limit_and_the_variables_have_none():
    """The limit is for our setting. Whoever asks for all traces by OpenTelemetry's variables gets all."""
    assert read_sampling(1.0, {}).most_per_s == MOST_PER_S
    assert read_sampling(0.01, {"OTEL_TRACES_SAMPLER": "always_on"}).most_per_s == 0
