"""How bytes arrive and leave, whatever they mean."""
