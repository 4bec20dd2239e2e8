"""HTTP/2 (RFC 9113) for calls over gRPC. ``connection.py`` has no socket and no clock."""
