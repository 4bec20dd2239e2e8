"""Results, verdicts, tables and charts."""
