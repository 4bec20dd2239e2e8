"""Load tests and comparisons: a black box over HTTP that imports nothing of the server it asks."""
