"""Checks that what a manifest says about tasks fits its graphs. They raise ValueError, which names the field."""
