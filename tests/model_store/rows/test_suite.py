"""The row analysis against graphs whose truth is known and confirmed by running them."""

import functools

import pytest

from model_store.rows import Analysis, analyse
from tests.support.rows.case import Case
from tests.support.rows.counterexample import find_counterexample
from tests.support.rows.suite import CASES, INDEPENDENT, MIXING

_SHARE_TO_PROVE = 0.98


@functools.cache
def judge(name: str) -> Analysis:
    return analyse(next(case for case in CASES if case.name == name).model.SerializeToString())


def test_suite_names_each_case_once() -> None:
    """No two cases have the same name."""
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", INDEPENDENT, ids=lambda case: case.name)
def test_independent_rows_give_alone_what_they_give_in_company(case: Case) -> None:
    """A row of an independent case gives the same alone and with any other rows."""
    assert find_counterexample(case, case.sizes) is None


@pytest.mark.parametrize("case", MIXING, ids=lambda case: case.name)
def test_mixing_rows_have_a_counterexample(case: Case) -> None:
    """Some other rows change a row of a mixing case, in the way that the case says."""
    assert find_counterexample(case, case.sizes, case.seen) is not None


@pytest.mark.parametrize("case", [case for case in MIXING if case.unseen], ids=lambda case: case.name)
def test_hidden_mixing_shows_nothing_at_some_sizes(case: Case) -> None:
    """At these numbers of rows the case looks independent."""
    assert find_counterexample(case, case.unseen) is None


@pytest.mark.parametrize("case", MIXING, ids=lambda case: case.name)
def test_analysis_never_proves_a_mixing_case(case: Case) -> None:
    """The analysis says ``mixing`` or ``unknown`` of each graph whose rows mix, and why."""
    verdict = judge(case.name)
    assert verdict.rows in ("mixing", "unknown"), f"{case.name} is called proved, but: {case.note}"
    assert verdict.reason


def test_analysis_proves_nearly_all_independent_cases() -> None:
    """The analysis proves at least 98 % of the graphs whose rows are independent."""
    verdicts = {case.name: judge(case.name) for case in INDEPENDENT}
    missed = {name: verdict for name, verdict in verdicts.items() if verdict.rows != "proved"}
    report = "\n".join(f"{name}: {verdict.rows}: {verdict.reason}" for name, verdict in missed.items())
    print(report)
    assert len(missed) <= (1 - _SHARE_TO_PROVE) * len(INDEPENDENT), report


def test_proof_names_the_axes_of_the_rows() -> None:
    """A proof gives the batch axis of each input and output, and omits inputs that all rows share."""
    wrong = {}
    for case in INDEPENDENT:
        verdict = judge(case.name)
        constants = {constant.name for constant in case.model.graph.initializer}
        named = [value.name for value in (*case.model.graph.input, *case.model.graph.output)]
        axes = {name: case.find_axis(name) for name in named if name not in constants}
        expected = {name: axis for name, axis in axes.items() if axis is not None}
        if verdict.rows == "proved" and dict(verdict.axes) != expected:
            wrong[case.name] = f"{dict(verdict.axes)} instead of {expected}"
    assert not wrong
