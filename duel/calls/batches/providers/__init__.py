"""The shapes in which providers take batches, one a module."""
