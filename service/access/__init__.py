"""Who may call the server, for what, and how often: keys, tokens, limits, the audit log. Decisions take the time as an
argument."""
