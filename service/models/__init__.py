"""Which versions serve, and how each was checked before."""
