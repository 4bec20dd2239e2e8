"""State that the server keeps between the requests of a sequence, and the way to the worker that keeps it."""
