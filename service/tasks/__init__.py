"""The tasks: they turn what people send into tensors, and outputs into answers."""
