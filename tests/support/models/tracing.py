"""Tells a module whether an exporter is tracing it."""


def is_traced() -> bool:
    import torch

    return torch.compiler.is_exporting() or torch.jit.is_tracing()
