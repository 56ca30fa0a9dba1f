"""The demo's job without a cluster: which files, which groups, and that a wrong result is found."""

from __future__ import annotations

import hashlib
import os
import subprocess

import pytest

from shard_executor.cli.errors import CommandError
from shard_executor.cli.hashing import compare, make_groups, regular_files, standard_library, task_of

ODD = b"odd \xff\n\\name"


@pytest.fixture
def groups(tmp_path):
    """Seven files, one with a name that is no text, in groups of three; hashed as their pods would."""
    folder, work = tmp_path / "files", tmp_path / "work"
    (folder / "below").mkdir(parents=True)
    work.mkdir()
    for number in range(5):
        (folder / "below" / f"f{number}").write_bytes(b"x" * number)
    (folder / "-n").write_bytes(b"a name like an option")
    with open(os.path.join(os.fsencode(folder), ODD), "wb") as file:
        file.write(b"odd")
    (folder / "link").symlink_to("-n")
    found = make_groups(regular_files(folder, skip_packages=False), 3, work)
    for group in found:
        subprocess.run(task_of(group).command, check=True, timeout=30)
    return found


def test_every_regular_file_is_in_one_group(groups):
    assert [len(group.files) for group in groups] == [3, 3, 1]
    names = [os.path.basename(path) for group in groups for path in group.files]
    assert sorted(names) == sorted([b"f0", b"f1", b"f2", b"f3", b"f4", b"-n", ODD])


def test_hashes_by_pods_equal_those_computed_here(groups):
    check = compare(groups)
    assert (check.compared, check.differences) == (7, [])
    assert check.size == sum(os.path.getsize(path) for group in groups for path in group.files)


def test_a_wrong_a_missing_and_a_foreign_hash_are_found(groups):
    first, second, third = groups
    content = first.result.read_bytes().replace(hashlib.sha256(b"odd").hexdigest().encode(), b"0" * 64)
    content = content.replace(hashlib.sha256(b"a name like an option").hexdigest().encode(), b"1" * 64)
    first.result.write_bytes(content)
    second.result.unlink()
    third.result.write_bytes(third.result.read_bytes() + b"0" * 64 + b"  /foreign\0")
    check = compare(groups)
    assert check.compared == 7
    wrong = [difference for difference in check.differences if "computed here" in difference]
    missing = [difference for difference in check.differences if "no hash from sha256-00002" in difference]
    foreign = [difference for difference in check.differences if "was not asked for it" in difference]
    assert len(wrong) >= 1
    assert len(missing) == 3
    assert foreign == ["/foreign: sha256-00003 was not asked for it"]
    assert len(check.differences) == len(wrong) + len(missing) + len(foreign)


def test_a_file_that_has_gone_is_a_difference(groups):
    os.unlink(groups[0].files[0])
    (difference,) = compare(groups).differences
    assert "cannot be read any more: No such file or directory" in difference


def test_the_standard_library_is_without_caches_and_packages():
    files = regular_files(standard_library(), skip_packages=True)
    assert any(path.endswith(b"/json/decoder.py") for path in files)
    assert not [path for path in files if b"/__pycache__/" in path or b"/site-packages/" in path]


def test_about_a_thousand_pods_by_default(tmp_path):
    groups = make_groups([b"/f%d" % number for number in range(2450)], None, tmp_path)
    assert (len(groups), len(groups[0].files), len(groups[-1].files)) == (817, 3, 2)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(CommandError, match="none: No such file or directory"):
        regular_files(tmp_path / "none", skip_packages=False)
