"""Writes the types of the clients from the OpenAPI document: ``make client-types``. A test fails where they are old."""
