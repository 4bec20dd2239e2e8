"""The tasks: what people send and get, to tensors and back."""
