"""Hypothesis strategies for pods, as dictionaries in their JSON shape that both formats can carry."""

import uuid
from typing import Any

from hypothesis import strategies as st

plain_texts = st.sampled_from(["", "Ready", "True", "OOMKilled", 'q"uo\\te', "}{][:,", "null", "a" * 200])
texts = plain_texts | st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
times = st.datetimes().map(lambda moment: moment.replace(microsecond=0).isoformat() + "Z")
int32 = st.sampled_from([0, 1, 137, -1, 2**31 - 1, -(2**31)]) | st.integers(-(2**31), 2**31 - 1)
uids = st.uuids().map(str) | st.sampled_from([str(uuid.UUID(int=1)).upper(), "no-uuid", "x" * 36, "ünicode"])
bins = st.sampled_from(["0", "17", "255", "256", "-1", "007", "", "abc", "99999999999"])


def members(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=optional)


states = st.one_of(
    st.just({}),
    members(reason=texts, message=texts).map(lambda state: {"waiting": state}),
    members(startedAt=times).map(lambda state: {"running": state}),
    members(exitCode=int32, signal=int32, reason=texts, message=texts, startedAt=times, finishedAt=times).map(
        lambda state: {"terminated": state}
    ),
)
containers = st.lists(
    members(name=texts, state=states, ready=st.booleans(), restartCount=int32, lastState=states), max_size=3
)
conditions = st.lists(members(type=texts, status=texts, reason=texts, message=texts), max_size=4)
statuses = members(
    phase=st.sampled_from(["", "Pending", "Running", "Succeeded", "Failed", "Unknown", "Odd"]),
    reason=texts,
    message=texts,
    startTime=times,
    conditions=conditions,
    containerStatuses=containers,
    initContainerStatuses=containers,
)
label_names = st.sampled_from(
    ["airflow-worker", "airflow_executor_done", "airflow_version", "shard-executor/owner", "shard-executor", "s", ""]
)
labels = st.dictionaries(label_names | texts, texts, max_size=5)
versions = st.integers(0, 2**64 - 1).map(str) | st.sampled_from(["1", str(2**64 - 1)])


@st.composite
def pods(draw: st.DrawFn) -> dict[str, Any]:
    metadata = draw(
        st.fixed_dictionaries(
            {"uid": uids, "resourceVersion": versions},
            optional={
                "name": texts,
                "namespace": texts,
                "deletionTimestamp": times,
                "labels": labels,
                "annotations": st.dictionaries(texts, texts, max_size=3),
            },
        )
    )
    if draw(st.booleans()):
        metadata["labels"] = {**metadata.get("labels", {}), "shard-executor/bin": draw(bins)}
    return {"metadata": metadata, **draw(members(status=statuses))}
