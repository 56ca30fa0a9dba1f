"""What the compiled core must do, in plain Python, slow and obvious. Used by tests and benchmarks only."""
