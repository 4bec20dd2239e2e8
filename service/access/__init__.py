"""Who may call, for what, and how much: keys, tokens, limits, the audit log. Time is an argument of the decisions."""
