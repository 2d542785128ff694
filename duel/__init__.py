"""LLM-judged duel curation of coding-agent turns: the rooms behind the scripts at the root."""

__version__ = "0.1.0"
