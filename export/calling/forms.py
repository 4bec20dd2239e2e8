"""The accepted forms of a model: a module, a function, an exported program, TorchScript, a file, or a wrapper."""

import inspect
import io
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from export.calling.arguments import is_exported, takes_anything
from export.calling.nesting import parts_of
from export.errors import NotPublished, SpecError

EXPECTED = (
    "a torch.nn.Module, a function, a torch.export.ExportedProgram, a TorchScript module, or the path of a .pt2 or "
    "TorchScript file"
)


@dataclass(frozen=True, slots=True)
class Model:
    """The callable model. ``modules`` are those whose weights and modes it uses: itself, or what a function refers
    to."""

    function: Callable[..., Any]
    modules: tuple[torch.nn.Module, ...]

    @property
    def is_scripted(self) -> bool:
        """Whether it contains TorchScript, which only the TorchScript exporter accepts."""
        scripted = torch.jit.ScriptModule | torch.jit.ScriptFunction
        return any(isinstance(part, scripted) for part in (self.function, *self._parts()))

    @property
    def is_exported(self) -> bool:
        """Whether it is the module of an exported program."""
        return is_exported(self.function)

    def uncompiled(self) -> AbstractContextManager[Any]:
        """Run parts that ``torch.compile`` compiled as they were written."""
        compiled = any(_is_compiled(part) for part in self._parts())
        return torch.compiler.set_stance("force_eager") if compiled else nullcontext()

    def _parts(self) -> Iterator[Any]:
        for module in self.modules:
            yield from module.modules()


def _is_compiled(part: torch.nn.Module) -> bool:
    """Whether ``torch.compile`` made it, compiled it in place, or decorates a method of its class."""
    methods = (*vars(type(part)).values(), *vars(part).values())
    return (
        "_orig_mod" in part._modules
        or part._compiled_call_impl is not None
        or any(hasattr(method, "_torchdynamo_orig_callable") for method in methods)
    )


def find_model(where: str, given: Any, names: Collection[str]) -> Model:
    """The model that ``given`` is, builds, or is the path of. Raises SpecError for anything else.

    A function builds the model if it can be called without arguments and has no parameter named like an input.
    """
    if _builds(given, names):
        given = _build(where, given)
    if isinstance(given, str | Path):
        given = _load(where, Path(given))
    if isinstance(given, torch.export.ExportedProgram):
        given = given.module()
    if isinstance(given, torch.nn.Module):
        module = _unwrap(given)
        return Model(module, (module,))
    given = getattr(given, "_torchdynamo_orig_callable", given)
    if not callable(given) or isinstance(given, type):
        raise SpecError(f"{where}: module: expected {EXPECTED}, got {_name_type(given)}")
    return Model(given, tuple(dict.fromkeys(_modules_of(given))))


def is_form(given: Any) -> bool:
    """Whether it may be a model. Calling or reading it may still fail."""
    return isinstance(given, str | Path) or callable(given)


def _builds(given: Any, names: Collection[str]) -> bool:
    if not callable(given) or isinstance(
        given, torch.nn.Module | torch.export.ExportedProgram | torch.jit.ScriptFunction
    ):
        return False
    if isinstance(given, type) and not issubclass(given, torch.nn.Module):
        return False
    try:
        signature = inspect.signature(given)
        signature.bind()
    except (TypeError, ValueError):
        return False
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    return not signature.parameters.keys() & set(names) and inspect.Parameter.VAR_POSITIONAL not in kinds


def _build(where: str, function: Callable[[], Any]) -> Any:
    try:
        return function()
    except NotPublished:
        raise
    except Exception as error:
        raise SpecError(
            f"{where}: module: the function that builds it fails ({type(error).__name__}: {error}): call it by itself"
        ) from error


def _load(where: str, path: Path) -> Any:
    """Load a file of torch.export or TorchScript. Pickled modules and weights are refused."""
    if not path.is_file():
        raise SpecError(f"{where}: module: {path.absolute()} does not exist: give the path of an existing file")
    names = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
    inner = {name.partition("/")[2] for name in names}
    try:
        if "constants.pkl" in inner:
            return torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
        if "archive_format" in inner or path.suffix == ".pt2":
            return torch.export.load(path)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise SpecError(f"{where}: module: {path} cannot be loaded ({type(error).__name__}: {reason})") from error
    raise SpecError(
        f"{where}: module: {path} is neither a .pt2 nor a TorchScript file: build the module and give it its weights "
        "with load_state_dict(torch.load(path, weights_only=True))"
    )


def _unwrap(module: torch.nn.Module) -> torch.nn.Module:
    """The module inside a wrapper that compiles, copies or trains it."""
    if isinstance(module, torch.jit.ScriptModule) and not hasattr(module, "_concrete_type"):
        return _reload(module)
    inner = getattr(module, "_orig_mod", None)  # from torch.compile
    if isinstance(inner, torch.nn.Module):
        return _unwrap(inner)
    parallel = torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel
    if isinstance(module, parallel | torch.optim.swa_utils.AveragedModel):
        return _unwrap(module.module)
    trained = [part for part in module.children() if any(True for _ in part.parameters())]
    if len(trained) == 1 and _lacks_forward(module):  # a training module, which holds a model
        return _unwrap(trained[0])
    return module


def _reload(module: torch.jit.ScriptModule) -> torch.nn.Module:
    """A frozen module, saved and loaded again: only such a module can be part of one that is traced."""
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    buffer.seek(0)
    loaded: torch.nn.Module = torch.jit.load(buffer)  # type: ignore[no-untyped-call]
    return loaded


def _lacks_forward(module: torch.nn.Module) -> bool:
    """Whether the module has no ``forward`` of its own."""
    if isinstance(module, torch.jit.ScriptModule):
        return False
    if not takes_anything(_own_signature(module)):
        return type(module).forward is torch.nn.Module.forward
    try:
        module.forward()
    except NotImplementedError:
        return True
    except Exception:  # noqa: BLE001  # it has one, which expects arguments
        return False
    return False


def _own_signature(module: torch.nn.Module) -> inspect.Signature:
    try:
        return inspect.signature(module.forward)
    except (TypeError, ValueError):
        return inspect.Signature()


def _modules_of(function: Any, seen: set[int] | None = None) -> Iterator[torch.nn.Module]:
    """The modules that a function refers to: its object, its closure, global names, arguments."""
    seen = set() if seen is None else seen
    if isinstance(function, partial):
        yield from _modules_in((*function.args, *function.keywords.values()))
        yield from _modules_of(function.func, seen)
        return
    function = inspect.unwrap(function)
    if id(function) in seen:
        return
    seen.add(id(function))
    owner = getattr(function, "__self__", None if inspect.isfunction(function) else function)
    yield from _modules_in((owner, *getattr(owner, "__dict__", {}).values()))
    if not inspect.isfunction(function) and not inspect.ismethod(function):
        return
    names = inspect.getclosurevars(function)
    for value in (*names.nonlocals.values(), *names.globals.values()):
        yield from _modules_in((value, *(part.value for part in parts_of(value) or ())))
        if inspect.isfunction(value) and value.__module__ == function.__module__:
            yield from _modules_of(value, seen)


def _modules_in(values: Iterable[Any]) -> Iterator[torch.nn.Module]:
    yield from (value for value in values if isinstance(value, torch.nn.Module))


def _name_type(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
