"""Models as people read them in a terminal: the lines of a list, the facts of a version."""
