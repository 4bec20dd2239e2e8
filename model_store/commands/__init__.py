"""``sluice models``: one module for each group of actions, and the table that names them all (``table.py``)."""
