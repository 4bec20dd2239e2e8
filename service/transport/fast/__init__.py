"""The fast path: requests that carry tensors, answered below ASGI."""
