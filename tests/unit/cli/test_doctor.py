"""Doctor's judgements of what a server answered: clock, version, quotas, and its words about a dry run."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from fake_api import FakeApi, Reply
from shard_executor.cli.doctor_quota import judge_quotas, quantity
from shard_executor.cli.doctor_report import Check, Report, State
from shard_executor.cli.doctor_server import (
    check_account,
    check_namespace,
    check_permissions,
    clock_check,
    version_check,
)
from shard_executor.cli.dry_run import Outcome, try_all, try_create
from shard_executor.core.credentials import Credentials
from shard_executor.shard.api import Api, TransportFault

NOON = 1_769_860_800.0  # Sat, 31 Jan 2026 12:00:00 GMT
DATE = "Sat, 31 Jan 2026 12:00:00 GMT"


def ask(question, *script):
    """What `question(api)` found on a server with that script."""

    async def scenario():
        async with FakeApi(*script) as fake:
            api = Api(Credentials(host=fake.host))
            await api.start()
            try:
                return await question(api), fake.requests
            finally:
                await api.end()

    return asyncio.run(scenario())


# ---- clock and version


@pytest.mark.parametrize(
    ("sent", "received", "state", "words"),
    [
        (NOON + 0.2, NOON + 0.3, State.OK, "agrees with the server's"),
        (NOON - 0.1, NOON + 1.9, State.OK, "agrees"),
        (NOON + 2.9, NOON + 3.0, State.OK, "agrees"),  # the header is cut to seconds: this may be 2 s
        (NOON + 42.5, NOON + 42.5, State.WARNING, "42 s ahead of the server's"),
        (NOON - 299.5, NOON - 299.5, State.WARNING, "300 s behind the server's"),
        (NOON + 2, NOON + 17, State.OK, "agrees"),  # too slow an answer to accuse a clock
    ],
)
def test_clocks_are_compared_as_well_as_the_header_allows(sent, received, state, words):
    check = clock_check(DATE, sent, received)
    assert (check.state, words in check.message) == (state, True), check
    assert bool(check.next) == (state is State.WARNING)
    assert check.facts["skew_seconds"] == round((sent + received) / 2 - NOON - 0.5, 1)


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_without_a_date_the_clock_is_not_judged(date):
    assert clock_check(date, NOON, NOON).state is State.SKIPPED


@pytest.mark.parametrize(
    ("version", "state"),
    [
        ("v1.36.2", State.OK),
        ("v1.28.0-eks-1234", State.OK),
        ("v1.27.16+k3s1", State.WARNING),
        ("v2.0.0", State.OK),
        ("something else", State.OK),
        (None, State.SKIPPED),
    ],
)
def test_versions(version, state):
    assert version_check(version).state is state


# ---- account, permissions, namespace


@pytest.mark.parametrize(
    ("reply", "state", "name"),
    [
        (Reply(201, b'{"status":{"userInfo":{"username":"jane"}}}'), State.OK, "jane"),
        (Reply(201, b'{"status":{"userInfo":{"username":"system:anonymous"}}}'), State.PROBLEM, ""),
        (Reply(403, b'{"kind":"Status","code":403,"message":"User \\"system:anonymous\\" cannot"}'), State.PROBLEM, ""),
        (Reply(401, b'{"kind":"Status","code":401,"message":"Unauthorized"}'), State.PROBLEM, ""),
        (Reply(404, b'{"kind":"Status","code":404,"message":"not found"}'), State.SKIPPED, ""),  # before 1.28
        (Reply(201, b'{"status":"odd"}'), State.SKIPPED, ""),
    ],
)
def test_who_the_server_takes_us_for(reply, state, name):
    (check, found), _ = ask(check_account, reply)
    assert (check.state, found) == (state, name)


def test_a_server_that_answers_no_reviews_is_a_warning():
    reply = Reply(404, b'{"kind":"Status","code":404,"message":"not found"}')
    (checks, missing), requests = ask(lambda api: check_permissions(api, "jobs"), *[reply] * 7)
    assert [check.state for check in checks] == [State.WARNING]
    assert (missing, len(requests)) == ([], 7)


@pytest.mark.parametrize(
    ("reply", "state", "words"),
    [
        (Reply(200, b'{"status":{"phase":"Active"}}'), State.OK, "jobs exists"),
        (Reply(200, b'{"status":{"phase":"Terminating"}}'), State.PROBLEM, "is being deleted"),
        (Reply(404, b'{"kind":"Status","code":404}'), State.PROBLEM, "does not exist"),
        (Reply(403, b'{"kind":"Status","code":403}'), State.SKIPPED, "may not read namespace objects"),
        (Reply(500, b'{"kind":"Status","code":500,"message":"etcd is away"}'), State.PROBLEM, "500 etcd is away"),
    ],
)
def test_namespaces(reply, state, words):
    check, _ = ask(lambda api: check_namespace(api, "jobs"), reply)
    assert (check.state, words in check.message) == (state, True), check


# ---- quotas


def quota(name, hard, used=None, **spec):
    status = {} if used is None else {"status": {"hard": hard, "used": used}}
    return {"metadata": {"name": name}, "spec": {"hard": hard, **spec}, **status}


@pytest.mark.parametrize(
    ("quotas", "state", "left", "words"),
    [
        ([], State.OK, None, "none in this namespace"),
        ([quota("q", {"pods": "500"}, {"pods": "20"})], State.OK, 480, "480 pods more may be created: q (20 of 500"),
        ([quota("q", {"pods": "1k"}, {"pods": "0"})], State.OK, 1000, "1000 pods more"),
        ([quota("q", {"pods": "21"}, {"pods": "20"})], State.WARNING, 1, "1 pod more may be created"),
        ([quota("q", {"pods": "20"}, {"pods": "20"})], State.PROBLEM, 0, "no pod more may be created: q (20 of 20"),
        ([quota("q", {"pods": "20"}, {"pods": "25"})], State.PROBLEM, -5, "no pod more"),
        ([quota("new", {"pods": "50"})], State.WARNING, 50, "50 pods more"),
        (
            [quota("a", {"pods": "500"}, {"pods": "0"}), quota("b", {"count/pods": "200"}, {"count/pods": "190"})],
            State.WARNING,
            10,
            "b (190 of 200 count/pods used)",
        ),
        ([quota("q", {"secrets": "1"}, {"secrets": "1"})], State.OK, None, "none that limits the number of pods"),
        ([quota("q", {"pods": "0"}, {"pods": "0"}, scopes=["Terminating"])], State.OK, None, "none that limits"),
        (
            [quota("q", {"requests.cpu": "4"}, {"requests.cpu": "3500m"})],
            State.OK,
            None,
            "also counts requests.cpu 3500m of 4 used (q): tasks or their template have to say their resources",
        ),
        ([{"metadata": None, "spec": "odd"}], State.OK, None, "none that limits"),
    ],
)
def test_quotas(quotas, state, left, words):
    check = judge_quotas(quotas, 100)
    assert (check.state, words in check.message) == (state, True), check
    assert check.facts.get("pods_left") == left
    if state is State.WARNING:
        assert f"--parallelism {left}" in check.next


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("50", Decimal(50)),
        ("1k", Decimal(1000)),
        ("500m", Decimal("0.5")),
        ("2Gi", Decimal(2 << 30)),
        ("1E", Decimal(10) ** 18),
        ("1e3", Decimal(1000)),
        (7, Decimal(7)),
        ("", None),
        ("1.2.3", None),
        ("much", None),
        (None, None),
    ],
)
def test_quantities(text, value):
    assert quantity(text) == value


# ---- dry runs


def test_the_servers_warnings_are_unquoted():
    header = '299 - "would violate PodSecurity \\"restricted:latest\\"", 299 - "unknown field \\"spec.foo\\""'
    verdict, requests = ask(
        lambda api: try_create(api, "jobs", b"{}", strict=False), Reply(201, headers={"Warning": header})
    )
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.warnings == ('would violate PodSecurity "restricted:latest"', 'unknown field "spec.foo"')
    assert requests[0].query == {"dryRun": "All", "fieldValidation": "Warn"}


def test_a_throttled_dry_run_is_sent_again_and_then_left_for_later():
    busy = Reply(429, b"Too many requests", "text/plain", headers={"Retry-After": "0"})
    verdict, requests = ask(lambda api: try_create(api, "jobs", b"{}", strict=True), busy, Reply(201))
    assert (verdict.outcome, len(requests)) == (Outcome.ACCEPTED, 2)
    assert requests[0].query["fieldValidation"] == "Strict"
    verdict, requests = ask(lambda api: try_create(api, "jobs", b"{}", strict=True), busy, busy, busy)
    assert (verdict.outcome, verdict.status, len(requests)) == (Outcome.LATER, 429, 3)
    assert verdict.words == "429 Too many requests"


def test_a_broken_connection_ends_all_dry_runs_with_its_fault():
    with pytest.raises(TransportFault):
        asyncio.run(_try_on_nobody())


async def _try_on_nobody():
    async with FakeApi() as fake:
        host = fake.host
    api = Api(Credentials(host=host))
    await api.start()
    try:
        await try_all(api, "jobs", [b"{}"] * 20)
    finally:
        await api.end()


# ---- the report


def test_only_problems_make_the_exit_code():
    checks = [
        Check("a", State.OK, "fine"),
        Check("longer", State.WARNING, "so so", "look"),
        Check("b", State.SKIPPED, "-"),
    ]
    report = Report("http://h", "a test", "jobs", checks)
    assert report.exit_code == 0
    assert report.text(colour=False).splitlines() == [
        "http://h (a test), namespace jobs",
        "ok       a       fine",
        "warning  longer  so so",
        "                 next: look",
        "skipped  b       -",
        "nothing is in the way of a run; 1 warning",
    ]
    broken = Report("http://h", "a test", "jobs", [*checks, Check("c", State.PROBLEM, "no", "mend")], ["kubectl x"])
    assert broken.exit_code == 1
    assert broken.text(colour=False).splitlines()[-3:] == [
        "to grant what is missing, somebody who may do so runs:",
        "  kubectl x",
        "1 problem, 1 warning: a run would fail or wait as things are",
    ]
    assert "\x1b[31mproblem" in broken.text(colour=True)
    assert broken.to_json()["exit_code"] == 1
