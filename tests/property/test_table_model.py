"""PodTable beside a dictionary through random sequences of everything a watcher does."""

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from oracle import encode, wire
from oracle.model import Model, told
from shard_executor._fast import FORMAT_JSON, FORMAT_PROTOBUF, PodTable

UIDS = [f"{i:08x}-0000-4000-8000-00000000000{i}" for i in range(6)] + ["odd", "odder", "ODD-uid"]
LOW, HIGH = 0, 128


class TableMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.table = PodTable(bin_lo=LOW, bin_hi=HIGH)
        self.model = Model(LOW, HIGH)
        self.version = 100
        self.replacing = False
        self.rng = random.Random(7)

    def pod(self, uid, version, phase, bin_):
        labels = {} if bin_ is None else {"shard-executor/bin": str(bin_)}
        return {
            "metadata": {
                "uid": uid,
                "name": f"pod-{uid}",
                "namespace": "space",
                "resourceVersion": str(version),
                "labels": labels,
            },
            "status": {"phase": phase},
        }

    def expect(self, kind, pod):
        return self.model.event(kind, pod)

    def send(self, events, form):
        if form == FORMAT_JSON:
            frames = [encode.json_event(kind, encode.json_pod(pod)) for kind, pod in events]
        else:
            frames = [encode.protobuf_event(kind, "Pod", encode.message(pod, wire.POD)) for kind, pod in events]
        expected = [item for kind, pod in events for item in self.expect(kind, pod)]
        stream = b"".join(frames)
        place = self.rng.randrange(len(stream) + 1)
        self.table.open_stream(form)
        found = self.table.feed(stream[:place]) + self.table.feed(stream[place:])
        assert self.table.end_stream() == 0
        assert [told(item) for item in found] == expected

    forms = st.sampled_from([FORMAT_JSON, FORMAT_PROTOBUF])
    event = st.tuples(
        st.sampled_from(["ADDED", "MODIFIED", "MODIFIED", "DELETED"]),
        st.sampled_from(UIDS),
        st.integers(-3, 3),
        st.sampled_from(["Pending", "Running", "Failed"]),
        st.sampled_from([None, 0, 127, 127, 128, 255, "x"]),
    )

    @rule(events=st.lists(event, min_size=1, max_size=6), form=forms)
    def events(self, events, form):
        """Some of them stale, some replayed."""
        batch = []
        for kind, uid, age, phase, bin_ in events:
            self.version += max(age, 0)
            batch.append((kind, self.pod(uid, self.version + min(age, 0), phase, bin_)))
        self.send(batch, form)

    @rule()
    def begin(self):
        self.table.begin_replace()
        self.model.begin()
        self.replacing = True

    @precondition(lambda self: self.replacing)
    @rule(uids=st.sets(st.sampled_from(UIDS)), form=forms, phase=st.sampled_from(["Pending", "Running"]))
    def page(self, uids, form, phase):
        """Known rows at their own version (unchanged, still seen), new ones at a new version."""
        listed = []
        for uid in sorted(uids):
            row = self.model.rows.get(uid)
            self.version += row is None
            listed.append(self.pod(uid, row.version if row else self.version, phase, 5))
        expected = [item for pod in listed for item in self.expect("MODIFIED", pod)]
        if form == FORMAT_JSON:
            body = encode.json_text({"metadata": {"resourceVersion": "7"}, "items": listed})
        else:
            body = encode.protobuf_list([encode.message(pod, wire.POD) for pod in listed], 7)
        meta, found = self.table.apply_list(body, form)
        assert meta.resource_version == 7
        assert [told(item) for item in found] == expected

    @precondition(lambda self: self.replacing)
    @rule(abort=st.booleans())
    def finish(self, abort):
        self.replacing = False
        if abort:
            self.table.abort_replace()
            return
        found = sorted((told(item) for item in self.table.commit_replace()), key=str)
        assert found == sorted(self.model.commit(), key=str)

    @rule(uid=st.sampled_from(UIDS))
    def forget(self, uid):
        assert self.table.forget(uid) == (self.model.rows.pop(uid, None) is not None)

    @rule(count=st.integers(50, 400))
    def many(self, count):
        """Through several growths of the index, and away again."""
        pods = [self.pod(f"m{i}", self.version, "Running", 1) for i in range(count)]
        body = encode.protobuf_list([encode.message(pod, wire.POD) for pod in pods], 7)
        self.table.apply_list(body, FORMAT_PROTOBUF)
        self.table.validate()
        order = list(range(count))
        self.rng.shuffle(order)
        for i in order:
            assert self.table.forget(f"m{i}")
        self.table.validate()

    @invariant()
    def same_rows(self):
        self.table.validate()
        rows = {uid: (pod.version, pod.phase, pod.deleting) for uid, pod in self.model.rows.items()}
        assert {uid: self.table.get(uid) for uid in self.table.uids()} == rows
        assert len(self.table) == len(rows)
        assert all((uid in self.table) == (uid in rows) for uid in UIDS)


TestTable = TableMachine.TestCase
TestTable.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
