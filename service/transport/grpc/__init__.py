"""The inference protocol over gRPC. Calls are translated to requests of HTTP, and answers and errors back to gRPC."""
