"""Fitted estimators of scikit-learn: their columns, their answers, and their graphs by skl2onnx."""
