"""A distribution as somebody else would write it: one small file for each kind of part."""
