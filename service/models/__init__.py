"""Which versions serve, and how each has proved itself."""
