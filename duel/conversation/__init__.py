"""Conversations with an agent: one model of what was said, called and brought back, and one reader of each shape."""
