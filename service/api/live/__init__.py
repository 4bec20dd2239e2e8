"""Live streams: samples or tensors in, an answer to each row as soon as it is there."""
