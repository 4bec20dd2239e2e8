"""Requests and answers in the form of OpenAI."""
