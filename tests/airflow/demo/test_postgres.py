"""PostgreSQL from a package, also where the tests run as root."""

from __future__ import annotations

import os

import psycopg2
import pytest

from shard_executor.airflow.demo.component import DemoError
from shard_executor.airflow.demo.postgres import Postgres


def test_a_server_of_ones_own() -> None:
    with Postgres() as postgres:
        address = postgres.url.replace("+psycopg2", "")
        folder = address.rpartition("host=")[2].replace("%2F", "/")
        connection = psycopg2.connect(address)
        try:
            with connection.cursor() as cursor:
                cursor.execute("select current_user, 6 * 7")
                assert cursor.fetchone() == ("airflow", 42)
        finally:
            connection.close()
        assert os.stat(folder).st_mode & 0o77 == 0
    assert not os.path.exists(folder)
    with pytest.raises(DemoError, match="has not been started"):
        assert postgres.url
