"""Every figure that isthmus claims, measured again: ``python -m benchmarks``."""
