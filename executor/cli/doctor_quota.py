"""Doctor's look at the ResourceQuotas of a namespace: how many pods more they let in, and what else they count."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from shard_executor.cli.answers import REQUEST_LIMIT, object_of, words_of
from shard_executor.cli.doctor_report import Check, State

if TYPE_CHECKING:
    from shard_executor.shard.api import Api

_POD_COUNTS = ("pods", "count/pods")
_COMPUTE = re.compile(r"(requests\.|limits\.)?(cpu|memory|ephemeral-storage)$")
_SCALES = {
    **{letter: Decimal(10) ** power for letter, power in (("n", -9), ("u", -6), ("m", -3), ("", 0))},
    **{letter: Decimal(1000) ** (place + 1) for place, letter in enumerate("kMGTPE")},
    **{f"{letter}i": Decimal(1024) ** (place + 1) for place, letter in enumerate("KMGTPE")},
}
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([numkMGTPE]|[KMGTPE]i)?")


async def check_quota(api: Api, namespace: str, parallelism: int) -> Check:
    """What the namespace's quotas leave. Raises TransportFault.

    Args:
        parallelism: pods that a run has alive at a time by default.
    """
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    answer = await api.request("GET", path, timeout=REQUEST_LIMIT)
    if answer.status == 403:
        message = "this account may not list resourcequotas (403); no run needs to"
        return Check("quota", State.SKIPPED, message)
    if answer.status != 200:
        return Check("quota", State.SKIPPED, f"could not be read: {answer.status} {words_of(answer)}")
    items = object_of(answer).get("items")
    quotas = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return judge_quotas(quotas, parallelism)


def judge_quotas(quotas: Sequence[Mapping[str, Any]], parallelism: int) -> Check:
    """The check for the ResourceQuota objects of a namespace."""
    if not quotas:
        return Check("quota", State.OK, "none in this namespace")
    left: dict[str, int] = {}
    compute: list[str] = []
    for quota in quotas:
        name, hard, used = _figures(quota)
        for count in _POD_COUNTS:
            limit, taken = quantity(hard.get(count)), quantity(used.get(count)) or Decimal(0)
            if limit is not None and not _is_scoped(quota):
                label = f"{name} ({int(taken)} of {int(limit)} {count} used)"
                left[label] = int(limit - taken)
        compute += [
            f"{key} {used.get(key, 0)} of {hard[key]} used ({name})" for key in hard if _COMPUTE.match(key) is not None
        ]
    counted = f"; it also counts {', '.join(compute)}: tasks or their template have to say their resources"
    more = counted if compute else ""
    facts: dict[str, Any] = {"pods_left": min(left.values()) if left else None, "counted": compute}
    if not left:
        return Check("quota", State.OK, f"none that limits the number of pods{more}", facts=facts)
    label, pods = min(left.items(), key=lambda pair: pair[1])
    if pods <= 0:
        message = f"no pod more may be created: {label}{more}"
        return Check("quota", State.PROBLEM, message, "raise the quota, or wait until pods there end", facts)
    message = f"{pods} pod{'s' if pods != 1 else ''} more may be created: {label}{more}"
    if pods < parallelism:
        advice = f"run with --parallelism {pods}; what is beyond the quota waits until pods end"
        return Check("quota", State.WARNING, message, advice, facts)
    return Check("quota", State.OK, message, facts=facts)


def quantity(value: object) -> Decimal | None:
    """A Kubernetes quantity, such as `50`, `1k` (the server writes 1000 so) or `2Gi`; None if it is none."""
    found = _QUANTITY.fullmatch(str(value)) if isinstance(value, (str, int)) else None
    if found is None:
        return None
    try:
        return Decimal(found[1]) * _SCALES[found[2] or ""]
    except InvalidOperation:
        return None


def _figures(quota: Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Name, limits and use. The limits that count are those of the status; a new quota has none yet."""
    metadata, spec, status = (_mapping(quota.get(key)) for key in ("metadata", "spec", "status"))
    hard = _mapping(status.get("hard")) or _mapping(spec.get("hard"))
    return str(metadata.get("name") or "?"), hard, _mapping(status.get("used"))


def _is_scoped(quota: Mapping[str, Any]) -> bool:
    """Whether it counts only some pods, such as those of a priority class: which ones, the server decides."""
    spec = _mapping(quota.get("spec"))
    return bool(spec.get("scopes") or spec.get("scopeSelector"))


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
