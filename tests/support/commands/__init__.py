"""Commands of `sluice`, and scripts, run in the process of the test."""
