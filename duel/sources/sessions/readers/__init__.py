"""Readers of session logs; each module offers its formats by name, as `FORMATS = {name: SessionReader(…)}`.

A format from outside is an entry point of the group `duel.session_reader`.
"""
