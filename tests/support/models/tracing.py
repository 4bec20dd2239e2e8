"""For modules that are something else while they are exported, by whichever of torch's exporters."""


def is_traced() -> bool:
    import torch

    return torch.compiler.is_exporting() or torch.jit.is_tracing()
