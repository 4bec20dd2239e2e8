"""Changes that bring a graph into the form that a manifest describes, each with its expected results in NumPy."""
