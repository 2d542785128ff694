"""Which license a LICENSE file holds, by the words that only it has."""

from __future__ import annotations

import re

# (SPDX id, words that must all be there), the more specific first: the Lesser GPL names the GPL.
_TELLING: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Apache-2.0", ("apache license", "version 2.0")),
    ("MPL-2.0", ("mozilla public license", "2.0")),
    ("AGPL-3.0", ("gnu affero general public license", "version 3")),
    ("LGPL-3.0", ("gnu lesser general public license", "version 3")),
    ("LGPL-2.1", ("gnu lesser general public license", "version 2.1")),
    ("GPL-3.0", ("gnu general public license", "version 3")),
    ("GPL-2.0", ("gnu general public license", "version 2")),
    ("BSD-3-Clause", ("redistribution and use in source and binary forms", "neither the name")),
    ("BSD-2-Clause", ("redistribution and use in source and binary forms",)),
    ("ISC", ("permission to use, copy, modify, and/or distribute this software for any purpose",)),
    ("MIT", ("permission is hereby granted, free of charge, to any person obtaining a copy", "copies or substantial")),
    ("Unlicense", ("free and unencumbered software released into the public domain",)),
    ("CC0-1.0", ("cc0 1.0 universal",)),
)
# Titles stand in the first lines; the Apache text is 11 KB, so all of them lie within this.
_LOOKED_AT = 20_000


def spdx(text: str) -> str:
    """The SPDX id of a license text; "" where it is none of the common ones."""
    words = re.sub(r"\s+", " ", text[:_LOOKED_AT]).lower()
    return next((name for name, telling in _TELLING if all(part in words for part in telling)), "")
