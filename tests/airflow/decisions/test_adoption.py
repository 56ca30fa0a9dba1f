"""Which pods of dead schedulers belong to which task instances, and which may be swept."""

from __future__ import annotations

from shard_executor.airflow.adoption import Orphan, match, owned_selector, ownerless_selector, ti_key_of, to_sweep
from shard_executor.airflow.cluster import PodMeta

DEPLOYMENT = "shard-executor"
INSTANCE = "shard-executor.default"


def pod(
    name: str,
    *,
    task: str = "t",
    try_number: int = 1,
    created: str = "2026-01-01T00:00:00Z",
    deleting: bool = False,
    labels: dict[str, str] | None = None,
    **annotations: str,
) -> PodMeta:
    base = {"dag_id": "d", "task_id": task, "run_id": "r", "try_number": str(try_number)}
    return PodMeta(
        "default",
        name,
        f"uid-{name}",
        created,
        deleting,
        labels or {},
        {**base, **{key.replace("__", "/").replace("_executor", "-executor"): v for key, v in annotations.items()}},
    )


def orphan(task: str = "t", try_number: int = 1, external: str | None = None) -> Orphan:
    return Orphan(("d", task, "r", -1, try_number), f"id-{task}", external, True)


def names(pairs: list) -> list[tuple[str, str]]:
    return [(found.ti_key[1], each.name) for found, each in pairs]


def test_pods_are_found_by_key_and_try():
    pods = [pod("a"), pod("b", task="u"), pod("c", task="v", try_number=2)]
    pairs, without = match([orphan("t"), orphan("u"), orphan("v"), orphan("w")], pods, INSTANCE, DEPLOYMENT)
    assert names(pairs) == [("t", "a"), ("u", "b")]
    assert [each.ti_key[1] for each in without] == ["v", "w"]


def test_the_submission_in_the_database_decides_between_pods():
    old = pod("old", created="2026-01-01T00:00:09Z", shard_executor__submission="s1")
    new = pod("new", created="2026-01-01T00:00:00Z", shard_executor__submission="s2")
    assert names(match([orphan(external="s2")], [old, new], INSTANCE, DEPLOYMENT)[0]) == [("t", "new")]
    assert names(match([orphan()], [old, new], INSTANCE, DEPLOYMENT)[0]) == [("t", "old")]


def test_pods_that_go_or_were_revoked_or_are_anothers_count_for_nothing():
    pods = [
        pod("going", deleting=True),
        pod("revoked", labels={"airflow_pod_revoked": "True"}),
        pod("other", labels={"shard-executor/instance": "elsewhere.default"}),
    ]
    assert match([orphan()], pods, INSTANCE, DEPLOYMENT)[0] == []
    stock = pod("stock", labels={"airflow-worker": "3"})
    assert names(match([orphan()], [*pods, stock], INSTANCE, DEPLOYMENT)[0]) == [("t", "stock")]


def test_a_pod_made_under_another_alias_is_adopted():
    renamed = pod("renamed", labels={"shard-executor/instance": "shard-executor.KubernetesExecutor"})
    assert names(match([orphan()], [renamed], INSTANCE, DEPLOYMENT)[0]) == [("t", "renamed")]


def test_a_pod_of_another_task_instance_id_is_left():
    assert match([orphan()], [pod("a", task_instance_id="id-other")], INSTANCE, DEPLOYMENT)[0] == []
    assert names(match([orphan()], [pod("a", task_instance_id="id-t")], INSTANCE, DEPLOYMENT)[0]) == [("t", "a")]


def test_annotations_that_name_no_task_instance():
    assert ti_key_of(PodMeta("default", "x", "u", "", False, {}, {})) is None
    assert ti_key_of(pod("x", map_index="nine")) is None
    assert ti_key_of(pod("x", map_index="9")) == ("d", "t", "r", 9, 1)


def test_only_pods_that_nobody_waits_for_are_swept():
    ours = {"shard-executor/instance": INSTANCE}
    succeeded = pod("succeeded", labels=ours)
    failed, awaited = pod("failed", task="f", labels=ours), pod("awaited", task="w", labels=ours)
    stock_ok, stock_failed = pod("stock-ok"), pod("stock-failed", task="sf")
    other = pod("other", labels={"shard-executor/instance": "elsewhere.default"})
    going = pod("going", labels=ours, deleting=True)
    found = to_sweep(
        [succeeded, failed, awaited, stock_ok, stock_failed, other, going],
        INSTANCE,
        {"uid-succeeded", "uid-stock-ok", "uid-other", "uid-going"},
        {("d", "w", "r", -1, 1)},
    )
    assert [each.name for each in found] == ["succeeded", "failed", "stock-ok"]


def test_selectors():
    assert (
        owned_selector(["9", "12"]) == "kubernetes_executor=True,airflow-worker in (12,9),airflow_executor_done!=True"
    )
    assert ownerless_selector({"9"}) == "kubernetes_executor=True,airflow-worker notin (9),airflow_executor_done!=True"
