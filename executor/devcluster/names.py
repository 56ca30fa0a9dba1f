"""The rules of names, label keys and label values (apimachinery's util/validation)."""

from __future__ import annotations

import re

DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS_SUBDOMAIN = rf"{DNS_LABEL}(\.{DNS_LABEL})*"
_LABEL = re.compile(DNS_LABEL + r"\Z")
_SUBDOMAIN = re.compile(DNS_SUBDOMAIN + r"\Z")
_NAME_PART = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]\Z")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?\Z")

SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    f"and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{DNS_SUBDOMAIN}')"
)
LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    f"with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{DNS_LABEL}')"
)
KEY_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation "
    "is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def subdomain_faults(name: str) -> list[str]:
    """What is wrong with a DNS subdomain, the form of most objects' names; empty if nothing is."""
    faults = ["must be no more than 253 characters"] if len(name) > 253 else []
    return faults if _SUBDOMAIN.match(name) else [*faults, SUBDOMAIN_RULE]


def label_faults(name: str) -> list[str]:
    """What is wrong with a DNS label, the form of namespaces' and containers' names; empty if nothing is."""
    faults = ["must be no more than 63 characters"] if len(name) > 63 else []
    return faults if _LABEL.match(name) else [*faults, LABEL_RULE]


def is_qualified_name(key: str) -> bool:
    """Whether `key` is a name of at most 63 characters, with an optional DNS subdomain and ``/`` before it."""
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > 253 or not _SUBDOMAIN.match(prefix)):
        return False
    return len(name) <= 63 and _NAME_PART.match(name) is not None


def is_label_value(value: str) -> bool:
    """Whether `value` may be a label's value: at most 63 characters, or empty."""
    return len(value) <= 63 and _LABEL_VALUE.match(value) is not None
