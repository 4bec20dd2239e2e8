"""The processes of `sluice serve`: a supervisor that keeps the listening socket, and the workers that it starts."""
