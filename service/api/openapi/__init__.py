"""The OpenAPI document, and the types that it describes."""
