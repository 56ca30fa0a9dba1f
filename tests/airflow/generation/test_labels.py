"""Label values are the provider's."""

from __future__ import annotations

import pytest
from airflow.providers.cncf.kubernetes.pod_generator import make_safe_label_value
from hypothesis import example, given
from hypothesis import strategies as st

from shard_executor.airflow.generation.labels import label_value

_NEAR = st.text("aZ09._-/+: é\n", max_size=130)


@given(st.one_of(_NEAR, st.text(st.characters(exclude_categories=["Cs"]), max_size=80)))
@example("")
@example("a" * 63)
@example("a" * 64)
@example("a" + "." * 62)
@example("-a\n")
@example("a\nb")
@example("é")
@example("_" * 70 + "x" * 70)
def test_as_the_provider_makes_them(text):
    assert label_value(text) == make_safe_label_value(text)


def test_a_lone_surrogate_has_none():
    with pytest.raises(UnicodeEncodeError):
        label_value("run\ud800")
