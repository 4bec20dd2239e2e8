"""Measures what the access log, the metrics and the traces cost."""
