"""`sluice doctor`: looks at this machine, the installation, the settings and the store before a server starts.

A check is a function that yields findings. It reads, and changes nothing.
"""
