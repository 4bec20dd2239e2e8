"""The state of sequences between their requests, and forwarding to the worker that keeps it."""
