"""The processes of `sluice serve`: a supervisor that holds the listening socket, and its workers."""
