"""Readers of session logs; each module registers its formats by name, with `reads` of `session_formats`."""
