"""Row analysis: whether the rows of a batch are independent in an ONNX graph, decided from the file alone."""

from model_store.rows.analysis import Analysis, analyse

__all__ = ["Analysis", "analyse"]
