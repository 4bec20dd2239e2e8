"""Servers, clients and doubles that tests share."""
