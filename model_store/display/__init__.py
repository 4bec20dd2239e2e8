"""Shows models in a terminal: the lines of a list, the facts of a version."""
