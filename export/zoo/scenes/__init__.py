"""The reference models of digits in photographs."""
