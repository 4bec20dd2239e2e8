"""The engine: rows in, rows out. It knows nothing of HTTP, BentoML or tasks."""
