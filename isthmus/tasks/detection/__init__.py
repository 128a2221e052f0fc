"""What is strange, why, and from which score on: of rows, of stamps of recordings, of pictures and their places."""
