"""Locales of graphs that change the case of texts: a missing one is replaced, or refused by name."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from model_store.errors import BadGraph
from model_store.graphs import locales
from model_store.graphs.locales import has_locale, with_available_locale
from tests.support.models import graphs
from tests.support.models.text import make_model

ORT = tuple(map(int, ort.__version__.split(".")[:2]))

LACKED = "xx_XX.UTF-8"
"""Of no language: no machine has it."""
SOURCES = Path(os.environ.get("I18NPATH", "/usr/share/i18n"))
TEXTS = np.array(["É", "äÖß", "ПРИВЕТ", "σΣ", "plain"], object)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have the locale that graphs ask for")


def normalizer(**attributes: Any) -> bytes:
    return graphs.build(
        [helper.make_node("StringNormalizer", ["x"], ["y"], name="lower", **attributes)],
        [("x", TensorProto.STRING, ["n"])],
        [("y", TensorProto.STRING, ["m"])],
    )


def run(content: bytes) -> list[str]:
    found: list[str] = ort.InferenceSession(content).run(None, {"x": TEXTS})[0].tolist()
    return found


def locales_of(content: bytes) -> list[str]:
    return [
        attribute.s.decode()
        for node in onnx.load_model_from_string(content).graph.node
        for attribute in node.attribute
        if attribute.name == "locale"
    ]


@pytest.mark.parametrize("name", ["tr_XX.UTF-8", "AZ_XX", "crh-XX.utf8", "nonsense", "english of the queen"])
def test_locale_without_substitute_is_refused(name: str) -> None:
    """Languages with another rule for i, and unknown ones, have no substitute."""
    with pytest.raises(BadGraph, match=rf"node 'lower' \(StringNormalizer\) .* locale '{name}'.*package locales"):
        with_available_locale(normalizer(case_change_action="LOWER", locale=name))


def test_machine_without_any_locale_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    monkeypatch.setattr(locales, "has_locale", lambda name: False)
    with pytest.raises(BadGraph, match=r"locale 'en_US.UTF-8', which this machine lacks: install it"):
        with_available_locale(normalizer(case_change_action="UPPER"))


@pytest.mark.parametrize("name", [LACKED, "xx-XX", "xx_XX@euro", "xx"])
@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"case_change_action": "LOWER"}, ["é", "äöß", "привет", "σσ", "plain"]),
        ({"case_change_action": "UPPER"}, ["É", "ÄÖß", "ПРИВЕТ", "ΣΣ", "PLAIN"]),
        ({"is_case_sensitive": 0, "stopwords": ["é", "привет"]}, ["äÖß", "σΣ", "plain"]),
    ],
)
def test_locale_that_this_machine_lacks_is_replaced(name: str, attributes: dict[str, Any], expected: list[str]) -> None:
    """The graph cannot be loaded as it is; the substitute handles letters of any script, and stop words."""
    content = normalizer(locale=name, **attributes)
    with pytest.raises(ort.capi.onnxruntime_pybind11_state.Fail, match="locale"):
        run(content)
    replaced = with_available_locale(content)
    assert locales_of(replaced) == ["C.UTF-8"]
    assert run(replaced) == expected


def test_default_locale_is_replaced_where_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph without a locale means en_US.UTF-8, which is replaced only where it is not installed."""
    content = normalizer(case_change_action="LOWER")
    monkeypatch.setattr(locales, "has_locale", lambda name: True)
    assert with_available_locale(content) is content
    monkeypatch.setattr(locales, "has_locale", lambda name: name == "C.UTF-8")
    assert locales_of(with_available_locale(content)) == ["C.UTF-8"]


@pytest.mark.skipif(ORT < (1, 27), reason="it asks for a locale even where it needs none")
def test_node_that_needs_no_locale_is_left_alone() -> None:
    """Without a change of case the locale does not matter, so the bytes stay."""
    for attributes in ({}, {"is_case_sensitive": 1, "stopwords": ["É"]}, {"is_case_sensitive": 0}):
        content = normalizer(locale="tr_XX", **attributes)
        assert with_available_locale(content) is content
        assert "plain" in run(content)


def test_locale_that_is_there_stays() -> None:
    """The locale C still changes ASCII only."""
    content = normalizer(case_change_action="LOWER", locale="C")
    assert with_available_locale(content) is content
    assert run(content) == ["É", "äÖß", "ПРИВЕТ", "σΣ", "plain"]


def test_node_inside_of_another_is_found() -> None:
    """A node in a branch of an If is replaced, and the other branch stays."""
    lower = f'StringNormalizer<case_change_action="LOWER", locale="{LACKED}">(x)'
    content = make_model(
        "string[n] x, bool which => string[m] y",
        f"y = If<then_branch = a () => (string[m] p) {{ p = {lower} }}, "
        "else_branch = b () => (string[m] q) { q = Identity(x) }>(which)",
    )
    session = ort.InferenceSession(with_available_locale(content))
    assert session.run(None, {"x": TEXTS[:1], "which": np.array(True)})[0].tolist() == ["é"]
    assert session.run(None, {"x": TEXTS[:1], "which": np.array(False)})[0].tolist() == ["É"]


@pytest.mark.parametrize("content", [b"", b"StringNormalizer", b"\x08\x07\x3a\xff\xff\xff\xffStringNormalizer"])
def test_what_is_no_onnx_file_stays(content: bytes) -> None:
    """ONNX Runtime says what is wrong with it."""
    assert with_available_locale(content) is content


def test_file_without_the_operator_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bytes are searched, and onnx is not imported."""
    monkeypatch.setitem(sys.modules, "onnx", None)
    content = graphs.double()
    assert with_available_locale(content) is content


def test_process_keeps_its_own_locale() -> None:
    """Looking for a locale does not change the locale of the process."""
    code = (
        "import locale; before = locale.setlocale(locale.LC_ALL); "
        "from model_store.graphs.locales import has_locale; found = has_locale('C.UTF-8'), has_locale('xx_XX'); "
        "print(before == locale.setlocale(locale.LC_ALL), *found)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "False"]


@pytest.mark.long
@pytest.mark.skipif(
    not (SOURCES / "locales/en_US").exists() or shutil.which("localedef") is None,
    reason="the package locales is not installed, so there is nothing to compare with",
)
def test_substitute_changes_every_letter_alike(tmp_path: Path) -> None:
    """ONNX Runtime changes the case of all letters alike with en_US.UTF-8 and C.UTF-8."""
    folder = tmp_path / "en_US.utf8"
    subprocess.run(["localedef", "--no-archive", "-i", "en_US", "-f", "UTF-8", folder], check=True)
    code = (
        "import numpy as np, onnxruntime as ort; from tests.model_store.graphs.test_locales import normalizer\n"
        "letters = [c for c in map(chr, range(1, 0x20000)) if not '\\ud800' <= c <= '\\udfff']\n"
        "x = {'x': np.array([c for c in letters if c.lower() != c or c.upper() != c], object)}\n"
        "for do in ('LOWER', 'UPPER'):\n"
        "    graphs = [normalizer(case_change_action=do, locale=name) for name in ('en_US.UTF-8', 'C.UTF-8')]\n"
        "    one, other = (ort.InferenceSession(graph).run(None, x)[0].tolist() for graph in graphs)\n"
        "    assert one == other and one != x['x'].tolist()\n"
    )
    for found in (Path("/usr/lib/locale/C.utf8"), Path("/usr/lib/locale/C.UTF-8")):
        if found.exists():
            shutil.copytree(found, tmp_path / found.name)
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "LOCPATH": str(tmp_path)})


def test_locales_of_this_machine_are_known() -> None:
    """C is found, and a language that does not exist is not."""
    assert (has_locale("C"), has_locale(LACKED)) == (True, False)
