"""What may be given in place of a module, up to the exported graph."""

import functools

import numpy as np
import pytest

from export import SpecError
from export.calling.forms import find_model
from export.onnx.exporter import export_graph
from export.original import Original
from export.runtime import Runtime

torch = pytest.importorskip("torch")


class Scaled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.dropout = torch.nn.Linear(4, 3), torch.nn.Dropout(0.5)

    def forward(self, x, scale):
        if x.shape[1] > 4:
            x = x[:, :4]
        return self.dropout(self.linear(x)) * scale

    def encode(self, x, scale):
        return self.dropout(self.linear(x)) / scale


class Training(torch.nn.Module):
    """As a training framework has it: ``forward`` is handed on to nobody, and one module in it is trained."""

    def __init__(self, module):
        super().__init__()
        self.net, self.loss = module, torch.nn.MSELoss()

    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs)


class HandsOn(Training):
    def forward(self, *args, **kwargs):
        return self.net(*args, **kwargs) + 1


def decorate(module):
    class Decorated(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = module

        @torch.compile
        def forward(self, x, scale):
            return self.net(x, scale)

    return Decorated()


class Holder:
    """No module, and holds one."""

    def __init__(self, module):
        self.nets = [module]
        self.net = module

    def __call__(self, x, scale):
        return self.net(x, scale)


def call_by_helper(module):
    def help_call(x, scale):
        return module(x, scale)

    return lambda x, scale: help_call(x, scale)


def save(module, path):
    torch.jit.save(torch.jit.script(module), path)
    return path


def export(module, path):
    x, scale = torch.randn(3, 4), torch.rand(3, 1)
    batch = torch.export.Dim("n")
    program = torch.export.export(module.eval(), (x,), {"scale": scale}, dynamic_shapes=({0: batch}, {0: batch}))
    if path is not None:
        torch.export.save(program, path)
    return program if path is None else path


FORMS = {
    "module": lambda module, path: module,
    "factory": lambda module, path: lambda: module,
    "function": lambda module, path: lambda x, scale: module(x, scale),
    "function of a function": lambda module, path: call_by_helper(module),
    "object": lambda module, path: Holder(module),
    "method": lambda module, path: module.encode,
    "partial": lambda module, path: functools.partial(lambda net, x, scale: net(x, scale), module),
    "compiled": lambda module, path: torch.compile(module),
    "compiled function": lambda module, path: torch.compile(lambda x, scale: module(x, scale)),
    "compiled in place": lambda module, path: module.compile() or module,
    "compiled method": lambda module, path: decorate(module),
    "parallel": lambda module, path: torch.nn.DataParallel(module),
    "averaged": lambda module, path: torch.optim.swa_utils.AveragedModel(module),
    "training": lambda module, path: Training(module),
    "hands on": lambda module, path: HandsOn(torch.compile(module)),
    "script": lambda module, path: torch.jit.script(module),
    "frozen": lambda module, path: torch.jit.freeze(torch.jit.script(module.eval())),
    "TorchScript file": lambda module, path: save(module, path / "m.pt"),
    "exported program": lambda module, path: export(module, None),
    "module of a program": lambda module, path: export(module, None).module(),
    "pt2 file": lambda module, path: str(export(module, path / "m.pt2")),
}


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # of torch, about its own older forms
@pytest.mark.parametrize("form", FORMS)
def test_form_is_exported_called_by_name_in_evaluation_mode(make_spec, tmp_path, one_thread, form):
    """Dropout is off, inputs are passed by name, and the training modes are restored."""
    module = Scaled()
    weights = [parameter.detach().clone() for parameter in module.parameters()]
    given = FORMS[form](module, tmp_path)
    modes = [part.training for part in module.modules()]
    inputs = {"scale": torch.rand(3, 1), "x": torch.randn(3, 4)}
    original = Original(make_spec(given, inputs=inputs))
    runtime = Runtime(export_graph(original).model.SerializeToString())
    x, scale = np.random.default_rng(0).random((5, 4), np.float32), np.full((5, 1), 2, np.float32)
    expected = x @ weights[0].numpy().T + weights[1].numpy()
    expected = expected / 2 if form == "method" else expected * 2 + (form == "hands on")
    assert np.allclose(runtime.run({"x": x, "scale": scale})["y"], expected, atol=1e-5)
    with original.evaluating():
        assert np.allclose(original.run({"x": x, "scale": scale})["y"], expected, atol=1e-5)
    assert [part.training for part in module.modules()] == modes


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("no.pt2", r".*no\.pt2 does not exist"),
        (lambda: 3, r"expected a torch\.nn\.Module, a function.* got int"),
        (dict, "expected .* got the class dict"),
        (torch.nn.Linear, "expected .* got the class Linear"),
        (lambda: 1 / 0, "the function that builds it fails .ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_no_model_is_refused(given, complaint):
    """The message lists what is accepted and what came."""
    with pytest.raises(SpecError, match=f"^m: module: {complaint}"):
        find_model("m", given, ["x"])


def test_file_of_weights_is_not_unpickled(tmp_path):
    """A file of weights is refused, and the message says how to load weights into a module."""
    torch.save(torch.nn.Linear(4, 3).state_dict(), tmp_path / "w.pt")
    with pytest.raises(SpecError, match=r"neither a \.pt2 nor a TorchScript file: build the module and.*weights_only"):
        find_model("m", tmp_path / "w.pt", ["x"])


def test_exported_program_of_fixed_batch_says_how_to_free_it(make_spec, one_thread):
    """The message says to export the program again, or to leave the axis out."""
    program = torch.export.export(torch.nn.Linear(4, 3), (torch.randn(3, 4),))
    with pytest.raises(SpecError, match=r"export the program with dynamic_shapes.*or leave them out of dynamic"):
        export_graph(Original(make_spec(program)))
