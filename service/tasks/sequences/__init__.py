"""Forecasts of series, and texts from texts, pictures and sounds."""
