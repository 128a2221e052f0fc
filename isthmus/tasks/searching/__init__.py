"""Rows that are like others: an index of codes and words, duplicates, and whether two are of the same."""
