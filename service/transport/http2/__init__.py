"""HTTP/2 (RFC 9113) for gRPC. ``connection.py`` has no socket and no clock."""
