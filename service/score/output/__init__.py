"""The output: its columns, its files, and what of it is done."""
