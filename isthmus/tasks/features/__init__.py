"""Codes as features of other models: what they are worth, what a label adds, and what they look like."""
