"""The least list stands in one place: deploy/role.yaml grants it exactly, and the commands grant what is missing."""

from __future__ import annotations

from pathlib import Path

import yaml

from shard_executor.cli.permissions import LEAST, ROLE_NAME, granting_commands, rules_of

MANIFEST = Path(__file__).parents[3] / "deploy" / "role.yaml"


def documents():
    return {document["kind"]: document for document in yaml.safe_load_all(MANIFEST.read_text())}


def test_the_role_grants_the_least_list_and_nothing_else():
    role = documents()["Role"]
    granted = [
        (verb, resource)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if rule["apiGroups"] == [""]
    ]
    assert sorted(granted) == sorted((each.verb, each.resource) for each in LEAST)
    assert role["rules"] == rules_of(LEAST)


def test_the_binding_joins_the_account_and_the_role():
    account, role, binding = (documents()[kind] for kind in ("ServiceAccount", "Role", "RoleBinding"))
    assert {document["metadata"]["name"] for document in (account, role, binding)} == {ROLE_NAME}
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ROLE_NAME}
    subject = {"kind": "ServiceAccount", "name": ROLE_NAME, "namespace": account["metadata"]["namespace"]}
    assert binding["subjects"] == [subject]


def test_each_rule_is_yaml_that_grants_the_permission():
    for permission in LEAST:
        assert yaml.safe_load(permission.rule) == rules_of([permission])[0]


def test_commands_grant_what_is_missing_to_whoever_lacks_it():
    missing = [each for each in LEAST if each.verb in ("watch", "patch") or each.subresource]
    commands = granting_commands(missing, "jobs", "system:serviceaccount:jobs:runner")
    assert [command.partition(" --dry-run")[0] for command in commands] == [
        "kubectl create role shard-executor -n jobs --verb=watch,patch --resource=pods",
        "kubectl create role shard-executor -n jobs --verb=get --resource=pods/log",
        "kubectl create rolebinding shard-executor -n jobs --role=shard-executor --serviceaccount=jobs:runner",
    ]
    assert all(command.endswith("| kubectl auth reconcile -f -") for command in commands)
    assert "--user='a user'" in granting_commands(missing, "jobs", "a user")[-1]
    assert "--user=NAME_OF_THIS_USER" in granting_commands(missing, "jobs", "")[-1]
    assert granting_commands([], "jobs", "a user") == []
