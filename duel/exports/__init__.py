"""Training formats: what is kept, in the shapes that trainers, vendors and the Hub read."""
