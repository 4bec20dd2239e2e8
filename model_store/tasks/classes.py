"""Labels for rows."""

from typing import Annotated

from pydantic import Field

from model_store.strict_model import Finite, StrictModel


class Classes(StrictModel):
    """The outputs of ``main`` with the scores, in the order of the labels: ``[batch, len(labels)]``.

    Probabilities lie in 0 to 1 and sum to one in each row. The golden samples of every version are checked for that.
    """

    probabilities: str = "probabilities"
    """The output with probabilities. If the module has only ``logits``, the export adds it: softmax, or sigmoid."""
    logits: str | None = None
    """The output with scores before softmax or sigmoid. Explanations use its gradients, if given."""
    score: str | None = None
    """An output with one number for each row, which is answered beside the label: how much a row is an outlier."""
    multi_label: bool = False
    """True: a row may have any number of labels, so the probabilities need not sum to one."""
    threshold: Annotated[Finite, Field(gt=0, lt=1)] | None = None
    """With ``multi_label``: a row has the labels whose probability is at least this. None: 0.5."""
