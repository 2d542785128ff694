"""Readers of session logs; each module offers its formats by name, as `FORMATS = {name: SessionReader(…)}`."""
