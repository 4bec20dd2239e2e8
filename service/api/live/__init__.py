"""Live streams: samples or tensors come in, and each row is answered at once."""
