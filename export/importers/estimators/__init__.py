"""Fitted estimators of scikit-learn: what they take, what they answer, and their graphs by skl2onnx."""
