"""Who runs next, with whom and how long it takes: plain objects without a clock, a thread or an event loop."""
