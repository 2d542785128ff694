"""Delimiters that no author of the fenced text can know, and that a rerun makes again: untrusted text in a prompt."""

import hashlib
import hmac


def nonce(secret: bytes, item: str) -> str:
    """16 hexadecimal digits for `item`, unguessable without `secret` (HMAC-SHA256, cut to 64 bits)."""
    return hmac.new(secret, item.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:16]


def fence(label: str, text: str, mark: str) -> str:
    """`text` between an opening and a closing line that carry `mark`."""
    return f"=== {label} {mark} ===\n{text}\n=== END OF {label} {mark} ==="
