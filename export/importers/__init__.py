"""``sluice import``: files and folders of other tools become proved versions."""
