"""Agent session logs in their own formats: one reader a module, one shape that they all read into."""
