"""New rows from noise."""
