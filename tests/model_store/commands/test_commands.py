"""`sluice models`."""

import json
from pathlib import Path

import onnx
import pytest
from onnx.external_data_helper import convert_model_to_external_data

from model_store import Manifest, Store
from model_store.graph import AxisRange, Graph, RowVerdict, Tensor
from model_store.manifest import Provenance, Quality
from tests.support.commands.models import run_models
from tests.support.models.graphs import double, mixing, write_plain
from tests.support.models.manifests import X, describe

Capture = pytest.CaptureFixture[str]
MANIFEST = describe(
    provenance=Provenance(created="2026-01-02T03:04:05Z"),
    quality=Quality(data="held out", rows=9, metrics={"accuracy": 0.987654}),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two published versions of ``m``, the first one ``stable``, and the plain model ``plain``."""
    store = Store(tmp_path / "models")
    for content in (b"one", b"two"):
        store.publish(MANIFEST, {"main.onnx": content})
    store.set_alias("m", "stable", 1)
    return write_plain(store.root, "plain", b"onnx")


@pytest.mark.parametrize("words", [("show", "nope"), ("verify", "nope"), ("show", "m", "--version", "beta")])
def test_what_is_not_in_the_store_ends_with_1(root: Path, words: tuple[str, ...], capsys: Capture) -> None:
    """An unknown model or alias is one line on standard error, with exit code 1."""
    assert run_models(*words, "--store", root) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"sluice models {words[0]}: no ")
    assert (captured.out, captured.err.count("\n")) == ("", 1)


@pytest.mark.parametrize("words", [("list",), ("show", "m"), ("verify",)])
def test_folder_that_is_not_there_ends_with_1(tmp_path: Path, words: tuple[str, ...], capsys: Capture) -> None:
    """A mistyped --store is told with its path."""
    assert run_models(*words, "--store", tmp_path / "nowhere") == 1
    assert f"none at {tmp_path / 'nowhere'}: check --store" in capsys.readouterr().err


@pytest.mark.parametrize("words", [(), ("show",), ("burn", "m")])
def test_wrong_usage_ends_with_2(words: tuple[str, ...], capsys: Capture) -> None:
    """No action, an unknown one, or show without a model is a usage error."""
    with pytest.raises(SystemExit) as caught:
        run_models(*words)
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_damaged_version_fails_verification_and_is_named(root: Path, capsys: Capture) -> None:
    """A damaged file makes the exit code 1; the other versions are still checked."""
    (root / "m" / "1" / "main.onnx").write_bytes(b"eno")
    assert run_models("verify", "--store", root) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("m 1: main.onnx is not the file that was published")
    assert lines[1:] == ["m 2: ok", "plain 1: ok"]


@pytest.mark.parametrize("words", [("m",), ("m", "--version", "1"), ("m", "--version", "stable")])
def test_verification_for_programs_says_which_version_and_why(
    root: Path, words: tuple[str, ...], capsys: Capture
) -> None:
    """--json prints an array; a number or alias narrows it to that version."""
    (root / "m" / "1" / "extra").touch()
    assert run_models("verify", *words, "--store", root, "--json") == 1
    results = json.loads(capsys.readouterr().out)
    assert [r["version"] for r in results] == ([1, 2] if words == ("m",) else [1])
    assert results[0]["ok"] is False
    assert "extra in m/1 is not in its manifest" in results[0]["reason"]


def test_version_without_a_model_is_wrong_usage(root: Path) -> None:
    """A version needs a model, and the message says so."""
    try:
        assert run_models("verify", "--version", "1", "--store", root) in (1, 2)
    except SystemExit as error:
        assert error.code == 2  # noqa: PT017  # either way of saying so will do


def test_damaged_manifest_is_listed_with_its_fault(root: Path, capsys: Capture) -> None:
    """A version whose manifest cannot be read is listed with the reason."""
    (root / "m" / "1" / "manifest.json").write_bytes(b"{}")
    assert run_models("list", "--store", root, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(r["name"], r["version"], r["task"]) for r in rows] == [
        ("m", 1, "?"),
        ("m", 2, "tensors"),
        ("plain", 1, "tensors"),
    ]
    assert rows[0]["error"].startswith("m/1/manifest.json: ")


def test_damaged_newest_version_does_not_hide_the_one_before(root: Path, capsys: Capture) -> None:
    """The line of a model is that of the newest version that can be read; the damaged one is told below."""
    (root / "m" / "2" / "manifest.json").write_bytes(b"{}")
    assert run_models("list", "--store", root) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:3] == ["m", "1", "tensors"]
    assert lines[-1].startswith("m 2: m/2/manifest.json: ")


def test_what_cannot_serve_is_listed_and_fails_verification(root: Path, capsys: Capture) -> None:
    """Folders that cannot serve are listed with the reason beside the others."""
    (root / "m" / "3").mkdir()
    (root / "[red] b").mkdir()
    assert run_models("list", "--store", root, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    told = {(r["name"], r["version"]): r["error"] for r in rows if r["error"]}
    assert told.keys() == {("m", 3), ("[red] b", None)}
    assert "m/3 is empty: expected model.onnx" in told["m", 3]
    assert run_models("list", "--store", root) == 0
    assert "[red] b" in capsys.readouterr().out
    assert run_models("verify", "--store", root) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["m 1: ok", "m 2: ok", "plain 1: ok"]
    assert set(lines[3:]) == {f"m 3: {told['m', 3]}", f"[red] b: {told['[red] b', None]}"}
    assert run_models("verify", "plain", "--store", root) == 0


def test_damaged_aliases_do_not_hide_the_versions(root: Path, capsys: Capture) -> None:
    """The model is listed with the fault of its aliases, and so are the others."""
    (root / "m" / "aliases.json").write_bytes(b"{")
    assert run_models("list", "--store", root, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [("aliases.json" in r["error"], r["name"]) for r in rows] == [(True, "m"), (True, "m"), (False, "plain")]
    assert run_models("list", "--store", root) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["m", "2", "(+1)"]


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_links_out_of_the_store_are_followed_where_it_is_asked_for(
    root: Path, tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """A link out of the store is a fault unless the flag or the variable allows it."""
    (root / "plain").rename(tmp_path / "plain")
    (root / "plain").symlink_to(tmp_path / "plain")
    assert run_models("verify", "--store", root) == 1
    assert "plain: plain leads outside of the store" in capsys.readouterr().out
    if by == "variable":
        monkeypatch.setenv("SLUICE_FOLLOW_LINKS", "true")
    assert run_models("verify", "--store", root, *(["--follow-links"] if by == "flag" else [])) == 0


def test_missing_weights_of_a_plain_model_fail_verification(root: Path, capsys: Capture) -> None:
    """Weights that the ONNX file names must be there, although a plain model has no digests."""
    model = onnx.load_model_from_string(double())
    convert_model_to_external_data(model, location="w.bin", size_threshold=0)
    (root / "plain" / "1" / "model.onnx").write_bytes(model.SerializeToString())
    assert run_models("verify", "plain", "--store", root) == 1
    assert "plain/1/w.bin is not there" in capsys.readouterr().out


def test_empty_store_is_no_failure(tmp_path: Path, capsys: Capture) -> None:
    """An empty store ends with 0 and a hint how to fill it."""
    assert run_models("list", "--store", tmp_path) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "sluice train" in captured.err


def test_list_has_one_line_a_model(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """The newest version is shown, with the number of older ones and their aliases; the store may be a variable."""
    monkeypatch.setenv("SLUICE_STORE", str(root))
    assert run_models("list") == 0
    heading, m, plain, hint = capsys.readouterr().out.splitlines()
    assert heading.split() == ["model", "version", "task", "quality", "rows", "size", "aliases"]
    assert m.split()[:7] == ["m", "2", "(+1)", "tensors", "0.9877", "accuracy", "-"]
    assert m.split()[-2:] == ["kB", "stable=1"]
    assert plain.split() == ["plain", "1", "tensors", "-", "-", "4", "B"]
    assert "sluice models list MODEL" in hint


@pytest.mark.parametrize(("words", "versions"), [(("m",), ["1", "2"]), (("--all",), ["1", "2", "1"])])
def test_every_version_is_listed_where_it_is_asked_for(
    root: Path, words: tuple[str, ...], versions: list[str], capsys: Capture
) -> None:
    """The name of a model, or --all, gives a line to each version, with its own aliases."""
    assert run_models("list", *words, "--store", root) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[1] for line in lines] == versions
    assert ["stable" in line for line in lines] == [position == 0 for position in range(len(versions))]


@pytest.mark.parametrize("width", [80, 60, 200])
def test_lines_fit_the_terminal(tmp_path: Path, width: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """A long line loses the ends of its quality, aliases, task and name, in this order, and never its size."""
    store = Store(tmp_path)
    quality = Quality(data="held out", rows=9, metrics={"a_metric_with_a_long_name": 0.5})
    store.publish(describe(name="a-model-with-a-rather-long-name", quality=quality), {"main.onnx": b""})
    store.set_alias("a-model-with-a-rather-long-name", "the-one-that-is-used", 1)
    monkeypatch.setenv("COLUMNS", str(width))
    assert run_models("list", "--store", tmp_path) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert len(line) <= width
    assert "kB" in line
    assert ("…" in line) == (width < 200)


def test_nothing_is_cut_off_for_other_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """A list that goes into a pipe has whole names and no colours."""
    name = "a" * 90
    Store(tmp_path).publish(describe(name=name), {"main.onnx": b""})
    monkeypatch.delenv("COLUMNS", raising=False)
    assert run_models("list", "--store", tmp_path) == 0
    printed = capsys.readouterr().out
    assert name in printed
    assert "\x1b" not in printed


def test_list_for_programs_has_the_same_facts(root: Path, capsys: Capture) -> None:
    """With --json each version is an object with its quality and size as numbers."""
    assert run_models("list", "--store", root, "--json") == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert first.pop("size_bytes") > len(b"one")
    assert first == {
        "name": "m",
        "version": 1,
        "aliases": ["stable"],
        "task": "tensors",
        "created": "2026-01-02T03:04:05Z",
        "quality": {"accuracy": 0.987654},
        "rows": "",
        "error": "",
    }


def test_shown_manifest_is_the_published_one(root: Path, capsys: Capture) -> None:
    """``show --json`` prints the version's manifest; ``show`` prints its facts for people."""
    assert run_models("show", "m", "--store", root, "--json") == 0
    shown = Manifest.from_json(capsys.readouterr().out.encode(), "shown")
    assert shown == Store(root).find("m", 2).read_manifest()
    assert run_models("show", "m", "--version", "stable", "--store", root) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "m version 1 (stable): tensors" in printed
    assert "accuracy 0.9877 measured on 9 rows: held out" in printed
    assert f"sluice models show m --version stable --store {root} --json" in printed


def test_summary_says_what_is_good_enough(root: Path, capsys: Capture) -> None:
    """A metric with a bar comes first, with its bar; so do labels, licence and golden rows."""
    quality = Quality(data="held out", rows=1234, metrics={"loss": 0.25, "accuracy": 0.5}, bar={"accuracy": 0.4})
    facts = {"labels": tuple(map(str, range(20))), "licence": "Apache-2.0", "description": "Tells digits apart."}
    Store(root).publish(describe(name="n", quality=quality, **facts), {"main.onnx": b""})
    assert run_models("show", "n", "--store", root) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for part in (
        "Tells digits apart.",
        "quality accuracy 0.5 (at least 0.4), loss 0.25 measured on 1,234 rows: held out",
        "labels 20: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 8 more",
        "licence Apache-2.0",
    ):
        assert part in printed


def publish(root: Path, graph: Graph, content: bytes) -> None:
    Store(root).publish(Manifest(name="n", task="tensors", graphs={"main": graph}), {"main.onnx": content})


def test_verdict_of_the_manifest_is_shown_with_all_limits(root: Path, capsys: Capture) -> None:
    """Axes, ranges, optional inputs and sizes are shown, and where to find the bits."""
    ids = Tensor(name="ids", datatype="INT64", shape=("batch", "time"), batch_axis=0, least=0, largest=9)
    scale = Tensor(name="scale", datatype="FP32", shape=(1,), optional=True)
    ranges = {"time": AxisRange(least=2, largest=512)}
    rows = RowVerdict(verdict="proved", reason="each of its 3 operators keeps rows apart")
    graph = Graph(file="main.onnx", inputs=(ids, scale), outputs=(X,), axis_ranges=ranges, rows=rows)
    publish(root, graph.model_copy(update={"proved_sizes": {"time": 8}}), b"")
    assert run_models("show", "n", "--store", root) == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in (
        "│ ids │ input │ INT64 │ [batch, time] │ axis 0 │ 0 to 9 │",
        "│ scale │ input │ FP32 │ [1] │ shared by all │ optional │",
        "batches: rows of several requests share a run, along axis 0",
        "rows: proved (each of its 3 operators keeps rows apart)",
        "that is proved at time=8: requests of other sizes run alone",
        "axis time: 2 to 512, other sizes are refused",
        "bits: the model's card shows those of the provider that serves",
    ):
        assert part in text


def test_version_without_a_verdict_is_analysed(root: Path, capsys: Capture) -> None:
    """A graph that mixes its rows is shown without a batch, as the server serves it."""
    wide = X.model_copy(update={"shape": ("batch", 2)})
    y = wide.model_copy(update={"name": "y"})
    publish(root, Graph(file="main.onnx", inputs=(wide.model_copy(update={"name": "x"}),), outputs=(y,)), mixing())
    assert run_models("show", "n", "--store", root) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "does not batch: each request is a run of its own rows: mixing (ReduceMean 'mean'" in text


def test_plain_version_is_shown_by_its_analysis(root: Path, capsys: Capture) -> None:
    """A plain version is shown by what is found in its file; --json prints a manifest."""
    write_plain(root, "double", double("width"))
    assert run_models("show", "double", "--store", root) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "rows: proved (its only operator keeps rows apart) bits: exact on CPUExecutionProvider" in text
    assert run_models("show", "double", "--store", root, "--json") == 0
    main = Manifest.from_json(capsys.readouterr().out.encode(), "shown").graphs["main"]
    assert main.inputs == (Tensor(name="x", datatype="FP32", shape=("batch", "width"), batch_axis=0),)


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_plain_version_that_would_be_refused_ends_with_1(root: Path, words: tuple[str, ...], capsys: Capture) -> None:
    """The reason is told, whether the configuration or the file is at fault."""
    write_plain(root, "double", double())
    (root / "double" / "config.pbtxt").write_text('input { name: "z" data_type: TYPE_FP32 dims: 3 }')
    assert run_models("show", "double", "--store", root, *words) == 1
    captured = capsys.readouterr()
    assert "names an input 'z' that the graph does not have" in captured.out + captured.err
    assert run_models("show", "plain", "--store", root, *words) == 1
    assert "ONNX Runtime cannot load the graph" in capsys.readouterr().err


def test_configuration_names_the_file_of_a_version(root: Path, capsys: Capture) -> None:
    """The ONNX file that config.pbtxt names is listed, as the server serves it."""
    write_plain(root, "two", b"")
    (root / "two" / "1" / "model.onnx").rename(root / "two" / "1" / "a.onnx")
    (root / "two" / "1" / "b.onnx").write_bytes(double())
    (root / "two" / "config.pbtxt").write_text('max_batch_size: 4 default_model_filename: "b.onnx"')
    assert run_models("show", "two", "--store", root) == 0
    assert "at most 4 in one" in capsys.readouterr().out


def test_verification_of_a_sound_store_ends_with_0(root: Path, capsys: Capture) -> None:
    """Every version is reported as ok."""
    assert run_models("verify", "--store", root) == 0
    assert capsys.readouterr().out == "m 1: ok\nm 2: ok\nplain 1: ok\n"
