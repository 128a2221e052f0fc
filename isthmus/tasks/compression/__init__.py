"""Rows in few bytes and back: codecs of rows, of pictures and of what streams, and models that are fitted for it."""
