"""Noise taken off pictures and signals: what it is, how a network learns it, and what is written back."""
