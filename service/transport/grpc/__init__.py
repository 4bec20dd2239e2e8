"""The protocol over gRPC: calls become those of the HTTP surface, answers and errors become those of gRPC."""
