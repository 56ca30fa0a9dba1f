"""Which images can be pulled here: any name runs on this host, except malformed ones and those marked as missing.

- A malformed reference (upper case in the repository, spaces, an empty name) gives InvalidImageName.
- A repository that begins with ``missing/`` (with or without a registry before it) and the tag ``missing`` give
  ErrImagePull, then ImagePullBackOff, as an image that no registry has.
- Rules added at run time (the fault kind `image-error`) do the same for the next pods that match.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

# distribution/reference: [domain[:port]/]path[:tag][@digest]
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?P<name>(?:[A-Za-z0-9.-]+(?::[0-9]+)?/)?{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>[a-z0-9+._-]+:[0-9a-fA-F]{32,}))?"
)


@dataclass(frozen=True, slots=True)
class PullFailure:
    """Why an image cannot be had: the waiting reason and message, and whether trying again makes sense."""

    reason: str
    message: str
    final: bool


@dataclass(slots=True)
class ImageRule:
    """Fails the pulls of matching pods.

    `matches` gets the pod's labels and the image; `left` is how many more pods it hits, None for all. A pod once
    hit stays hit (by uid) until the rule is cleared.
    """

    matches: Callable[[Mapping[str, str], str], bool]
    left: int | None
    message: str | None = None
    until: float | None = None
    hit: set[str] = field(default_factory=set)


class Images:
    """Decides on pulls."""

    def __init__(self) -> None:
        self.rules: list[ImageRule] = []

    def failure(self, image: str, labels: Mapping[str, str], uid: str, now: float) -> PullFailure | None:
        """Why the image cannot be pulled for the pod with these labels and uid at `now` (unix seconds), or None."""
        match = _REFERENCE.fullmatch(image)
        if match is None:
            words = f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": '
            return PullFailure("InvalidImageName", words + "invalid reference format", True)
        full = normalized(image)
        if match["tag"] == "missing" or "missing" in match["name"].split("/")[:-1]:
            return PullFailure("ErrImagePull", _not_found(full), False)
        for rule in self.rules:
            if rule.until is not None and now >= rule.until:
                continue
            if uid not in rule.hit:
                if rule.left == 0 or not rule.matches(labels, image):
                    continue
                rule.hit.add(uid)
                if rule.left is not None:
                    rule.left -= 1
            return PullFailure("ErrImagePull", rule.message or _not_found(full), False)
        return None


def normalized(image: str) -> str:
    """The reference with registry and tag, as containerd names it: ``busybox`` is docker.io/library/busybox:latest."""
    first, slash, _ = image.partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    full = image if named else f"docker.io/{image if slash else f'library/{image}'}"
    tagged = "@" in full or ":" in full.rpartition("/")[2]
    return full if tagged else f"{full}:latest"


def backing_off(image: str, failure: PullFailure) -> str:
    """The message of ImagePullBackOff (kubelet's image_manager.go)."""
    return f'Back-off pulling image "{image}": {failure.reason}: {failure.message}'


def _not_found(full: str) -> str:
    return (
        f'rpc error: code = NotFound desc = failed to pull and unpack image "{full}": failed to resolve reference '
        f'"{full}": {full}: not found'
    )
