"""What the owner of a store does with it: moves ``stable``, compares, removes and migrates versions."""
