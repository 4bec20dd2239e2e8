"""Reports on each request: the access log, and traces by OpenTelemetry."""
