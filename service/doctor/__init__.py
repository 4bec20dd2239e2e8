"""`sluice doctor`: checks this machine, the installation, the settings and the store before a server starts.

A check is a function that yields findings. It changes nothing.
"""
