"""The dashboard for Grafana, generated from the definitions of the metrics."""
