"""Tools for maintainers: how the bundled sample is recorded. Not part of the wheel."""
