"""How good a reference model is."""
