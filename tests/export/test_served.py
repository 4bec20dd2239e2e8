"""A published model answers over HTTP as PyTorch does at sizes that parity did not use, or with 400."""

import numpy as np
import pytest

from export import publish
from tests.support.inferring import Refused, infer
from tests.support.servers import Serving, settings_for

torch = pytest.importorskip("torch")

SERIES = {"inputs": {"x": torch.linspace(-2, 2, 108).reshape(3, 9, 4)}, "dynamic": {"x": {0: "batch", 1: "time"}}}


class Words(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(20, 4)

    def forward(self, x):
        return self.table(x).mean(1)


def last_sixteen(linear, x):
    return linear(x[:, -16:] if x.shape[1] > 16 else x).sum(1)


def in_pairs(linear, x):
    return linear(x) if x.shape[1] % 3 == 0 else -linear(x)


def test_request_beyond_what_was_proved_is_refused_and_names_it(make_module, make_spec, store):
    """The server refuses lengths beyond a branch, lengths that are no multiple, and ids that PyTorch refuses."""
    torch.manual_seed(0)
    words = Words()
    publish(make_spec(make_module(last_sixteen), name="tail", **SERIES), store)
    publish(make_spec(make_module(in_pairs), name="threes", **SERIES), store)
    ids = {"x": torch.tensor([[3, 7, 4], [5, 6, 11], [9, 3, 8]])}
    publish(make_spec(words, name="words", inputs=ids), store)
    with Serving(settings_for(store.root, provider="cpu")) as server, server.client() as client:
        for length in (1, 13, 16):
            x = np.random.default_rng(length).standard_normal((4, length, 4), np.float32) * 30
            with torch.no_grad():
                expected = make_module(last_sixteen)(torch.from_numpy(x)).numpy()
            assert np.allclose(infer(client, "tail", {"x": x})["y"], expected, rtol=1e-5, atol=1e-5)
        with torch.no_grad():
            edges = words(torch.tensor([[0, 19, 0]])).numpy()
        assert np.allclose(infer(client, "words", {"x": np.array([[0, 19, 0]])})["y"], edges, atol=1e-6)
        series = np.zeros((1, 17, 4), np.float32)
        for model, x, complaint in (
            ("tail", series, r"input 'x': expected a size from 1 to 16 on axis 1 \('time'\), got 17"),
            ("threes", series, r"a size of 3 or more, that is a multiple of 3 on axis 1.*got 17"),
            ("words", np.array([[1, -1, 2]]), r"input 'x': expected integers from 0 to 19, got -1 at \[0, 1\]"),
            ("words", np.array([[1, 2, 20]]), r"expected integers from 0 to 19, got 20 at \[0, 2\]"),
        ):
            with pytest.raises(Refused, match=complaint) as refused:
                infer(client, model, {"x": x})
            assert refused.value.status == 400
