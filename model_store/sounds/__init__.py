"""Turns sound files into rows of samples: for requests in the server, and for samples in ``sluice import``."""
