"""Any sequence of commits against a plain model, with the journal closed and opened in between."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shard_executor.runs.journal import Again, Journal, Launched, RunHeader, TaskEntry

IDS = st.text(min_size=1, max_size=8) | st.integers(0, 30).map("t{}".format)
RECORDS = st.dictionaries(
    st.sampled_from(["message", "exit_code", "log_tail", "times"]),
    st.none() | st.integers(-(2**53), 2**53) | st.text(max_size=20) | st.lists(st.booleans(), max_size=2),
)
STATES = st.sampled_from(["succeeded", "failed", "lost", "revoked"])


class Model(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory(prefix="journal-")
        self.path = Path(self.folder.name) / "r.sqlite"
        self.entries: dict[str, TaskEntry] = {}
        self.records: dict[str, dict] = {}  # of ended tasks, in the order in which they ended
        self.header: RunHeader | None = None
        self.finished = False
        self.open_it()

    def open_it(self):
        self.journal = Journal(self.path, run_id="r")
        self.journal.start()

    def teardown(self):
        if hasattr(self, "folder"):
            self.journal.end()
            self.folder.cleanup()

    def pick(self, data, tasks):
        return data.draw(st.lists(st.sampled_from(tasks), unique=True)) if tasks else []

    @rule(ids=st.lists(IDS, max_size=10, unique=True), results=st.none() | st.just("/out"))
    def add(self, ids, results):
        new = [(id_, f"d-{id_}") for id_ in ids if id_ not in self.entries]
        header = RunHeader("r", "ns", "https://x", None, 1.5, results)
        self.journal.begin(header, iter(new))
        self.header = header
        self.entries.update((id_, TaskEntry(id_, digest)) for id_, digest in new)
        self.finished = self.finished and not new

    @rule(data=st.data())
    def commit(self, data):
        launched, again, ended = [], [], []
        open_ = [id_ for id_ in self.entries if id_ not in self.records]
        for id_ in self.pick(data, open_):
            entry = self.entries[id_]
            number = entry.try_number
            for what in data.draw(st.lists(st.sampled_from(["launched", "again", "late", "ended"]), max_size=4)):
                record = {**data.draw(RECORDS), "id": id_, "state": data.draw(STATES)}
                if what == "launched":
                    entry.attempt = data.draw(st.integers(0, 5))
                    entry.uid = data.draw(st.none() | st.text(max_size=5))
                    entry.began = data.draw(st.booleans())
                    launched.append(Launched(id_, entry.try_number, entry.attempt, entry.uid, entry.began))
                elif what == "again":
                    fresh = TaskEntry(id_, entry.digest, entry.try_number + 1)
                    fresh.failures, fresh.disruptions = data.draw(st.tuples(st.integers(0, 9), st.integers(0, 9)))
                    fresh.due = data.draw(st.floats(0, 2e9))
                    again.append(Again(id_, fresh.try_number, fresh.failures, fresh.disruptions, fresh.due, record))
                    entry = self.entries[id_] = fresh
                elif what == "late" and entry.try_number > number:
                    launched.append(Launched(id_, number, 9, "late", True))
                elif what == "ended":
                    ended.append((id_, record))
                    self.records[id_] = record
                    break
        self.journal.commit(launched=launched, again=again, ended=ended)

    @precondition(lambda self: self.records)
    @rule(data=st.data())
    def reopen(self, data):
        ids = self.pick(data, list(self.records))
        self.journal.reopen(ids)
        for id_ in ids:
            del self.records[id_]
            entry = self.entries[id_]
            self.entries[id_] = TaskEntry(id_, entry.digest, entry.try_number + 1)
        self.finished = self.finished and not ids

    @precondition(lambda self: self.entries)
    @rule(data=st.data(), interrupted=st.booleans())
    def interrupt(self, data, interrupted):
        ids = self.pick(data, list(self.entries))
        (self.journal.interrupt if interrupted else self.journal.carry_on)(ids)
        for id_ in ids:
            self.entries[id_].interrupted = interrupted

    @precondition(lambda self: self.header is not None and len(self.records) == len(self.entries))
    @rule()
    def finish(self):
        self.journal.finish(9.0)
        self.finished = True

    @rule(later=st.floats(0, 1e6))
    def beat(self, later):
        self.journal.beat(1.7e9 + later)

    @rule()
    def open_again(self):
        self.journal.end()
        self.open_it()

    @invariant()
    def agrees(self):
        if not hasattr(self, "journal"):
            return
        assert self.journal.header == self.header
        assert self.journal.finished == self.finished
        found = self.journal.entries()
        assert list(found) == list(self.entries)
        assert {id_: entry.result for id_, entry in found.items() if entry.ended} == self.records
        for entry in found.values():
            entry.stored = None
        assert found == self.entries
        assert list(self.journal.results()) == list(self.records.values())


Model.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
test_model = Model.TestCase
