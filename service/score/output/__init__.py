"""The output: its columns, its files, and the state of the run."""
