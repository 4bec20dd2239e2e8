"""What a load test prints and writes: the verdict first."""
