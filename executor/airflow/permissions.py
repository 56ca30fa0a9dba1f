"""What the processes of an Airflow need to be allowed: deploy/helm/rbac.yaml grants exactly this."""

from __future__ import annotations

from shard_executor.cli.permissions import LEAST, Permission

# Shards create, read, follow, label and delete pods and fetch the end of a failed one's log; commands do less.
SCHEDULER: tuple[Permission, ...] = LEAST
# The log view of a task that runs looks for its pod and reads its log.
API_SERVER: tuple[Permission, ...] = tuple(
    permission for permission in LEAST if (permission.verb, permission.subresource) in {("list", ""), ("get", "log")}
)
# `airflow shard-executor cleanup-pods` and the chart's own clean-up job, whose Role the chart brings along.
CLEANUP: tuple[Permission, ...] = tuple(
    permission for permission in LEAST if not permission.subresource and permission.verb in {"list", "delete"}
)
