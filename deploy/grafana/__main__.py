"""Writes the dashboard: ``python -m deploy.grafana``."""

from deploy.grafana.dashboard import FILE, render

FILE.write_text(render())
print(f"{FILE.name} written")
