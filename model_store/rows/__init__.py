"""Row analysis: whether the rows of a batch are independent in an ONNX graph, decided from the file alone."""

from model_store.rows.analysis import Analysis, analyse, is_risky
from model_store.rows.operators import find_fragile
from model_store.rows.process import AnalystProcess

__all__ = ["Analysis", "AnalystProcess", "analyse", "find_fragile", "is_risky"]
