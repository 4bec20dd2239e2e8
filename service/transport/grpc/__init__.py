"""The protocol over gRPC. Calls are translated to those of HTTP, and answers and errors back to gRPC."""
