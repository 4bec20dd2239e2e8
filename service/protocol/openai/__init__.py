"""Requests and answers in OpenAI's form."""
