"""The training loop of the models of scenes."""

from collections.abc import Callable

import torch
from torch import nn

from export.spec import Progress

_REPORTED_STEPS = 50


def fit(
    model: nn.Module,
    draw_loss: Callable[[], torch.Tensor],
    *,
    steps: int,
    learning_rate: float,
    largest_gradient: float,
    progress: Progress,
) -> None:
    """Train the model in place by the loss of a new batch in each step, and leave it ready for evaluation."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
    model.train()
    total = 0.0
    for step in range(1, steps + 1):
        loss = draw_loss()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), largest_gradient)
        optimiser.step()
        schedule.step()
        total += loss.item()
        if step % _REPORTED_STEPS == 0:
            progress(f"training: step {step} of {steps}, loss {total / _REPORTED_STEPS:.3f}")
            total = 0.0
    model.eval()
