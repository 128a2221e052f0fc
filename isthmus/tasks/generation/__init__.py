"""New rows: between others, beside them, how true they are, and whether they help a classifier."""
