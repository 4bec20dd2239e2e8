"""HTTP connections: their bytes, other readers of them, and connections in virtual time."""
