"""Requests of the Open Inference Protocol for tensors."""
