"""An ONNX graph as the analysis reads it: nodes, unfolded bodies, stripped weights, inputs to try."""
