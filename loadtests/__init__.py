"""Load tests and comparisons. They are a black box over HTTP and import nothing of the server."""
