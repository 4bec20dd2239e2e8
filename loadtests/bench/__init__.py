"""A comparison with other servers that anyone can run: same machine, run, models and load generator for all."""
