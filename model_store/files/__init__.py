"""Files of a store: how they are read, and how new ones get there."""
