"""Sounds, as files, to rows of samples: what the server does with a request, and ``sluice import`` with a sample."""
