"""The settings of a server. The docstring of ``settings.py`` says where their values come from."""

from service.settings.settings import MAX_INPUTS, PREFIX, Settings, SettingsError, find_injected

__all__ = ["MAX_INPUTS", "PREFIX", "Settings", "SettingsError", "find_injected"]
