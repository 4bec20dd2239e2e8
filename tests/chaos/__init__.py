"""What must not stop a server: kills, hot swaps, slow clients, signals, large requests. ``make test-chaos``."""
