"""The fast path: requests that carry tensors are answered below ASGI."""
