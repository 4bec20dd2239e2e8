"""Changes of a graph that bring it into the form that a manifest describes, each with what it must give."""
