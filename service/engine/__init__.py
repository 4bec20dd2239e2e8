"""The engine: rows in, rows out. It knows no HTTP, no BentoML and no task."""
