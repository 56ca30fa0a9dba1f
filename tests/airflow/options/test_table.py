"""The option table is complete and agrees with the installed provider."""

from __future__ import annotations

import pytest

from shard_executor.airflow.option_table import OWN_OPTIONS, STOCK_OPTIONS, Option

PROVIDER = pytest.importorskip("airflow.providers.cncf.kubernetes.get_provider_info")
INSTALLED = PROVIDER.get_provider_info()["config"]["kubernetes_executor"]["options"]
OURS = {option.key: option for option in STOCK_OPTIONS}


def test_every_option_of_the_provider_is_there_once() -> None:
    assert INSTALLED.keys() <= OURS.keys()
    assert len(OURS) == len(STOCK_OPTIONS)


@pytest.mark.parametrize("key", sorted(INSTALLED))
def test_its_default_is_the_providers(key: str) -> None:
    theirs = INSTALLED[key]
    assert OURS[key].default == (theirs["default"] or "")
    assert OURS[key].since == theirs["version_added"]


@pytest.mark.parametrize("option", [*STOCK_OPTIONS, *OWN_OPTIONS], ids=lambda option: option.key)
def test_words_are_sentences(option: Option) -> None:
    assert option.words.endswith(".")
    assert "%" not in option.words + option.default
    assert (option.stance == "own") == (option in OWN_OPTIONS)
