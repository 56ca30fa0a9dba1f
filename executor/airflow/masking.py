"""Hides secrets in a container's own words: with Airflow's maskers, and by the names that values are given.

A masker knows the secrets that its own process has read. The scheduler has not read a worker's connections and
variables, so that what a worker printed is also searched for `password=...` and the like, by Airflow's list of
sensitive names.
"""

from __future__ import annotations

import functools
import importlib
import logging
import re
from collections.abc import Callable
from typing import Any

Mask = Callable[[str], str]
HIDDEN = "***"

# By release: Airflow 3.1 and later have one masker for the core and one for the task SDK, each with secrets of its own.
_MODULES = ("airflow._shared.secrets_masker", "airflow.sdk._shared.secrets_masker")
_OLDER = ("airflow.sdk.execution_time.secrets_masker", "airflow.utils.log.secrets_masker")

log = logging.getLogger(__name__)

# A name, possibly quoted, then = or :, then a value. A quoted value ends with its quote, one after = at a space. One
# after a colon ends with the line: that is the way of headers and YAML, whose values have spaces.
_ASSIGNED = re.compile(
    r"""(?P<quote>\\?["'])?(?P<name>[A-Za-z_][\w.\-]{0,127})(?(quote)(?P=quote))(?P<sign>[ \t]*(?:=>|:=|=|:)[ \t]*)"""
    r"""(?P<value>\\"(?:(?!\\").)*(?:\\"|$)|"(?:\\.|[^"\\\n])*(?:"|$)|'(?:\\.|[^'\\\n])*(?:'|$)|[^\n]+)""",
    re.MULTILINE,
)
_OPTION = re.compile(r"(?P<name>--?[A-Za-z][\w\-]{0,127})(?P<sign>[ \t]+)(?P<value>(?!-)\S+)")
_IN_URL = re.compile(r"(?P<before>\b[A-Za-z][A-Za-z0-9+.\-]*://[^\s/:@]*:)[^\s/@]+(?:@[^\s/@]+)*(?=@)")
_BEARER = re.compile(r"(?P<before>\bBearer[ \t]+)[A-Za-z0-9._~+/=\-]+", re.IGNORECASE)
_PRIVATE_KEY = re.compile(
    r"(?:-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----|\A(?![\s\S]*-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----))"
    r"[\s\S]*?-----END [A-Z0-9 ]*PRIVATE KEY-----"
    r"|-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[\s\S]*\Z"
)


def masker() -> Mask | None:
    """A function that hides secrets in a text, or None where this Airflow has no masker that can be found.

    The maskers are asked at each call, so that secrets which become known later are hidden too. Names count as
    sensitive by `[core] sensitive_var_conn_names` and Airflow's own list, unless `hide_sensitive_var_conn_fields` is
    off. The function raises what a masker raises.
    """
    modules = _imported(_MODULES) or _imported(_OLDER)[:1]
    if not modules:
        log.warning("no secrets masker was found in this Airflow: what containers wrote is left out of event logs")
        return None

    def sensitive(name: str) -> bool:
        return any(module.should_hide_value_for_key(name) for module in modules)

    def mask(text: str) -> str:
        for module in modules:
            text = str(module.redact(text))
        return mask_named_values(text, sensitive)

    return mask


@functools.cache
def _found() -> Mask | None:
    return masker()


def airflow_mask(text: str) -> str:
    """`masker()` as a function that is there at once; it looks for the maskers when it is first called.

    Raises:
        LookupError: there is none.
    """
    mask = _found()
    if mask is None:
        raise LookupError("no secrets masker")
    return mask(text)


def _imported(names: tuple[str, ...]) -> list[Any]:
    found = []
    for name in names:
        try:
            module = importlib.import_module(name)
            if callable(module.redact) and callable(module.should_hide_value_for_key):
                found.append(module)
        except (ImportError, AttributeError):
            log.debug("no secrets masker at %s", name)
    return found


def mask_named_values(text: str, sensitive: Callable[[str], bool]) -> str:
    """Hides values by the names before them, passwords in URLs, bearer tokens, and private keys in PEM.

    Rather too much is hidden than too little: what follows a sensitive name and a colon goes to the end of its line
    where it is not quoted.

    Args:
        text: any number of lines.
        sensitive: whether the value of a name is to be hidden.
    """
    text = _PRIVATE_KEY.sub(HIDDEN, text)
    text = _IN_URL.sub(lambda found: f"{found['before']}{HIDDEN}", text)
    text = _BEARER.sub(lambda found: f"{found['before']}{HIDDEN}", text)
    text = "\n".join(_line(line, sensitive) for line in text.split("\n"))
    return _OPTION.sub(lambda found: _hidden(found) if sensitive(_plain(found["name"])) else found[0], text)


def _line(line: str, sensitive: Callable[[str], bool]) -> str:
    """One line: after a name that is not sensitive the search goes on in its value, which may hold others."""
    parts: list[str] = []
    at = 0
    while found := _ASSIGNED.search(line, at):
        if not sensitive(_plain(found["name"])):
            parts.append(line[at : found.start("value")])
            at = found.start("value")
            continue
        value = found["value"]
        end = found.end("value")
        if value[0] not in "\"'\\" and ":" not in found["sign"]:
            end = found.start("value") + len((value.split(maxsplit=1) or [value])[0])
        parts.append(f"{line[at : found.start('value')]}{HIDDEN}")
        at = end
    parts.append(line[at:])
    return "".join(parts)


def _hidden(found: re.Match[str]) -> str:
    return f"{found['name']}{found['sign']}{HIDDEN}"


def _plain(name: str) -> str:
    """As Airflow's list has them: with underscores, in small letters."""
    return name.strip("-").replace("-", "_").replace(".", "_").lower()
