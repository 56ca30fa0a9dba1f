"""Short ways to write single events for the tests of the compiled core."""

import json
from typing import Any

from shard_executor._fast import FORMAT_JSON, PodTable

UID = "00000000-0000-4000-8000-000000000001"


def pod(uid: str = UID, version: int | str = 1, phase: str = "Pending", **more: Any) -> dict[str, Any]:
    """`labels`, `annotations`, `deletionTimestamp`, `name`, `namespace` go to the metadata, the rest to the status."""
    in_metadata = ("labels", "annotations", "deletionTimestamp", "name", "namespace")
    metadata = {"name": "p", "namespace": "n", "uid": uid, "resourceVersion": str(version)}
    metadata |= {key: value for key, value in more.items() if key in in_metadata}
    status = {"phase": phase} | {key: value for key, value in more.items() if key not in in_metadata}
    return {"metadata": metadata, "status": status}


def line(kind: str, obj: Any) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def open_table(**options: Any) -> PodTable:
    table = PodTable(**options)
    table.open_stream(FORMAT_JSON)
    return table


def body(*pods: Any, version: int = 9, **metadata: Any) -> bytes:
    return json.dumps(
        {"kind": "PodList", "metadata": {"resourceVersion": str(version), **metadata}, "items": pods}
    ).encode()
