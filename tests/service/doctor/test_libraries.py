"""What `sluice doctor` says of Python and of libraries; failures first."""

import pytest

from service.doctor import libraries
from service.settings import Settings

GOOD = {"onnxruntime": "1.32.0", "uvicorn": "0.54.0"}


def check(found: dict[str, str | None], monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """The findings where these versions are installed, beside what really is."""
    real = libraries.find_version
    findings = libraries.check_libraries(Settings(), lambda name: found.get(name, real(name)))
    return [(finding.check, finding.state, finding.text) for finding in findings]


@pytest.fixture(autouse=True)
def requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["numpy>=1.26", 'nothing>=1; extra == "other"', "bentoml==1.4.39"]
    monkeypatch.setattr(libraries, "requires", lambda name: wanted)


def test_two_builds_of_the_runtime_are_wrong() -> None:
    """They overwrite each other's files; the advice removes both."""
    both = {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.32.0"}
    [found] = libraries.check_runtimes(Settings(), both.get)
    assert (found.state, "uninstall -y onnxruntime onnxruntime-gpu" in found.advice) == ("wrong", True)


def test_missing_runtime_is_wrong() -> None:
    """The advice names the extras."""
    [found] = libraries.check_runtimes(Settings(), lambda _: None)
    assert (found.state, "sluice-serving[cpu]" in found.advice) == ("wrong", True)
    assert list(libraries.check_runtimes(Settings(), {"onnxruntime": "1.32.0"}.get)) == []


@pytest.mark.parametrize(
    ("installed", "state", "said"),
    [
        ("1.20.0", "wrong", "1.20.0: expected 1.24.1 or newer"),
        ("1.99.0", "note", "1.99.0: newer than 1.32.0, which was tested"),
        ("1.32.0", "ok", "1.32.0"),
    ],
)
def test_version_is_compared_with_what_is_supported(
    installed: str, state: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too old is wrong, because a server does not start; newer than tested is worth knowing."""
    assert ("onnxruntime", state, said) in check({"onnxruntime": installed, "onnxruntime-gpu": None}, monkeypatch)


@pytest.mark.parametrize(("python", "state"), [("3.10.1", "wrong"), ("3.13.9", "ok"), ("3.14.0", "note")])
def test_python_is_compared_too(python: str, state: str) -> None:
    """A patch release of a tested Python is a tested one."""
    [found] = libraries.check_python(Settings(), python)
    assert found.state == state


def test_library_that_is_missing_or_does_not_fit_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each requirement of the distribution is compared; those of extras are not."""
    found = check({**GOOD, "numpy": None, "bentoml": "1.3.0"}, monkeypatch)
    assert [text for name, state, text in found if (name, state) == ("libraries", "wrong")] == [
        "numpy is not installed: expected >=1.26",
        "bentoml 1.3.0: expected ==1.4.39",
    ]


def test_extras_that_are_not_there_are_worth_knowing(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no fault: a server without texts needs no tokenizers."""
    found = check({**GOOD, "locust": None, "numpy": "2.0", "bentoml": "1.4.39"}, monkeypatch)
    assert [text for name, state, text in found if (name, state) == ("extras", "note") and "loadtest" in text]
    assert ("libraries", "ok", "all required ones are installed, in versions that fit") in found
