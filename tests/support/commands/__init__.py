"""Commands of `sluice`, run in the process of the test."""
