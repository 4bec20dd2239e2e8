"""Turns picture files into rows of tensors: for requests in the server, and for samples in ``sluice import``."""
