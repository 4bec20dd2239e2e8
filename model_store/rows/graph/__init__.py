"""An ONNX graph as the analysis reads it: nodes, bodies written out, weights left aside, inputs to try."""
