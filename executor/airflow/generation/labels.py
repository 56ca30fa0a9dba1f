"""Label values as the provider makes them, without importing it."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

MAX_LABEL = 63  # Kubernetes: a label value has at most 63 characters, letters and digits at both ends
_HASH_CHARS = 9
_CORE = re.compile("[0-9A-Za-z](?:.*[0-9A-Za-z])?", re.DOTALL)
_FOREIGN = re.compile("[^0-9A-Za-z._-]")


@lru_cache(maxsize=4096)
def label_value(text: str) -> str:
    """`text` where it can be a label value; else what is left of it, shortened, with a hash of the whole.

    The rule is the provider's (pod_generator.make_safe_label_value), so that selectors made by either find the pods.

    Raises:
        UnicodeEncodeError: `text` has lone surrogates.
    """
    core = _CORE.search(text)
    kept = _FOREIGN.sub("", core.group()) if core is not None else ""
    if kept == text and len(kept) <= MAX_LABEL:
        return kept
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:_HASH_CHARS]
    return f"{kept[: MAX_LABEL - _HASH_CHARS - 1]}-{digest}"
