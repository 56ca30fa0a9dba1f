"""Overrides as bytes: what comes out is what went in, and different overrides are different bytes."""

from __future__ import annotations

import copy
import decimal
import enum
import itertools
from datetime import UTC, date, datetime

import pytest
from generation_cases import OVERRIDES
from hypothesis import given, settings
from kubernetes.client import ApiClient, Configuration
from kubernetes.client import models as k8s

from shard_executor.airflow.generation import BuildError
from shard_executor.airflow.generation.models import decode_model, encode_model

SHARED = Configuration()


class Size(enum.Enum):
    BIG = "big"


def _pod(value):
    return k8s.V1Pod(metadata=k8s.V1ObjectMeta(annotations={"a": value}))


def _same(left, right):
    """Whether two values say the same, down to their types."""
    if type(left) is not type(right):
        return False
    if hasattr(left, "openapi_types"):
        return all(_same(getattr(left, name), getattr(right, name)) for name in left.openapi_types)
    if isinstance(left, dict):
        return list(left) == list(right) and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(_same, left, right))
    return left == right


@settings(deadline=None)
@given(OVERRIDES)
def test_there_and_back(override):
    back = decode_model(encode_model(override), SHARED)
    assert _same(back, override)
    assert ApiClient().sanitize_for_serialization(back) == ApiClient().sanitize_for_serialization(override)
    assert back.local_vars_configuration is SHARED


@settings(deadline=None)
@given(OVERRIDES)
def test_equal_overrides_have_equal_bytes(override):
    data = encode_model(override)
    twin = copy.deepcopy(override)
    shared = [override, override]  # what else refers to a value must not matter
    assert encode_model(twin) == encode_model(shared[1]) == data


@settings(deadline=None, max_examples=200)
@given(OVERRIDES, OVERRIDES)
def test_bytes_are_equal_only_for_equal_overrides(left, right):
    assert (encode_model(left) == encode_model(right)) == _same(left, right)


VALUES = [
    *("1", 1, True, 1.0, False, 0, 0.0, -0.0, "", "True", b"1", [], {}, (), [1], (1,), ["1"], [[]], [{}], [()]),
    *({"1": 1}, {1: 1}, {True: 1}, {"a": 1, "b": 2}, {"b": 2, "a": 1}, float("nan"), "\ud800", 2**70, -(2**70)),
    *(Size.BIG, "big", decimal.Decimal(1), datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 1)),
    *(k8s.V1EnvVar(name="1"), k8s.V1EnvFromSource(), k8s.V1EnvVar(name="1", value=""), {"name": "1"}, None),
]


def test_no_two_kinds_of_value_share_bytes():
    for left, right in itertools.combinations(VALUES, 2):
        assert encode_model(_pod(left)) != encode_model(_pod(right)), (left, right)


@pytest.mark.parametrize("value", [value for value in VALUES if value == value], ids=repr)
def test_every_kind_of_value_comes_back(value):
    assert _same(decode_model(encode_model(_pod(value)), SHARED).metadata.annotations["a"], value)


def test_a_client_configuration_that_cannot_be_pickled_is_left_out():
    configuration = Configuration()
    configuration.refresh_api_key_hook = lambda _: None
    override = k8s.V1Pod(local_vars_configuration=configuration, spec=None)
    assert encode_model(override) == encode_model(k8s.V1Pod())


def test_fields_that_an_older_client_did_not_know_are_none():
    override = k8s.V1Pod(metadata=k8s.V1ObjectMeta(name="x"))
    del override.metadata.__dict__["_finalizers"]
    assert decode_model(encode_model(override), SHARED).metadata.finalizers is None


def test_what_cannot_be_sent_is_refused_by_name():
    with pytest.raises(BuildError, match=r"InvalidOverride.*function.*kubernetes.client"):
        encode_model(_pod(lambda: None))


def test_an_override_within_itself_is_refused():
    loop = k8s.V1Pod(metadata=k8s.V1ObjectMeta(annotations={}))
    loop.metadata.annotations["self"] = loop
    with pytest.raises(BuildError, match=r"InvalidOverride.*itself"):
        encode_model(loop)
