"""Stands in for the workers of simulated pods: writes to the metadata database what the API server would for them.

A simulated pod runs nothing, so nobody would say that its task runs and has succeeded; both executors look that up.
This watches the cluster on its own, in its own process or thread, and writes RUNNING when a pod runs (only for a task
instance that is queued, as the API server demands) and SUCCESS some time later, before the pod ends.

    python -m driving.standin --url http://127.0.0.1:1234 --token T --database airflow.db --after 0.5
"""

from __future__ import annotations

import argparse
import heapq
import http.client
import json
import queue
import sqlite3
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# Cluster-wide, so that faults on the namespace's watches leave it alone.
_PATH = "/api/v1/pods?watch=1&labelSelector=kubernetes_executor%3DTrue"
_FLUSH = 0.02  # seconds between writes
_BUSY = 30.0  # seconds that a write waits for the database
_READY_LIMIT = 10.0  # seconds until the watch is open
_SILENCE = 3600.0  # seconds a read may take
_KEY = "dag_id = ? AND task_id = ? AND run_id = ? AND map_index = ?"
_RUNNING = f"UPDATE task_instance SET state = 'running', start_date = ?, hostname = ? WHERE {_KEY} AND state = 'queued'"
_SUCCESS = f"UPDATE task_instance SET state = 'success', end_date = ?, hostname = ? WHERE {_KEY} AND state = 'running'"

Key = tuple[str, str, str, int]


class StandIn:
    """Watches pods and writes their tasks' states. Constructing starts nothing.

    Args:
        url: of the development cluster.
        token: to be let in.
        database: the SQLite file.
        after: seconds from RUNNING to SUCCESS; the pods must run longer. Negative: SUCCESS is not written.
    """

    def __init__(self, url: str, token: str | None, database: Path, after: float) -> None:
        self._url = url
        self._token = token
        self._database = database
        self._after = after
        self._seen: queue.SimpleQueue[tuple[str, Key]] = queue.SimpleQueue()
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self._threads: list[threading.Thread] = []
        self.counts: Counter[str] = Counter()  # running, success, refused
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Opens the watch.

        Raises:
            TimeoutError: it was not open within 10 s.
        """
        for target in (self._watch, self._write):
            thread = threading.Thread(target=self._guarded, args=(target,), daemon=True)
            thread.start()
            self._threads.append(thread)
        if not self._ready.wait(_READY_LIMIT):
            raise TimeoutError(f"the stand-in's watch was not open within {_READY_LIMIT:.0f} s: {self.failure}")

    def end(self) -> None:
        """Stops both threads; what is due later is not written."""
        self._ended.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            connection.sock.shutdown(2)  # SHUT_RDWR: the reader wakes up
        for thread in self._threads:
            thread.join(10.0)

    def _guarded(self, target: Any) -> None:
        try:
            target()
        except (OSError, ValueError, sqlite3.Error, http.client.HTTPException) as error:
            if not self._ended.is_set():
                self.failure = error
                self._ended.set()

    def _watch(self) -> None:
        seen: set[str] = set()
        parts = urlsplit(self._url)
        headers = {"Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        while not self._ended.is_set():
            self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_SILENCE)
            self._connection.request("GET", _PATH, headers=headers)
            response = self._connection.getresponse()
            if response.status != 200:
                raise OSError(f"the stand-in's watch: HTTP {response.status} {response.read(500)!r}")
            self._ready.set()
            try:
                while line := response.readline():
                    self._take(json.loads(line), seen)
            except (OSError, http.client.HTTPException):
                continue  # cut by a fault: the next watch begins with all pods there are
            finally:
                self._connection.close()

    def _take(self, event: dict[str, Any], seen: set[str]) -> None:
        pod = event["object"]
        metadata = pod.get("metadata") or {}
        if event["type"] not in ("ADDED", "MODIFIED") or pod.get("status", {}).get("phase") != "Running":
            return
        if metadata["uid"] in seen:
            return
        notes = metadata.get("annotations") or {}
        if "dag_id" not in notes or "run_id" not in notes:
            return  # a pod made by a test
        seen.add(metadata["uid"])
        key = (notes["dag_id"], notes["task_id"], notes["run_id"], int(notes.get("map_index", -1)))
        self._seen.put((metadata["name"], key))

    def _write(self) -> None:
        due: list[tuple[float, int, str, Key]] = []
        number = 0
        with sqlite3.connect(self._database, timeout=_BUSY) as database:
            while not self._ended.wait(_FLUSH):
                now = time.monotonic()
                begun: list[tuple[str, Key]] = []
                while not self._seen.empty():
                    begun.append(self._seen.get())
                done: list[tuple[str, Key]] = []
                while due and due[0][0] <= now:
                    done.append(heapq.heappop(due)[2:])
                if not begun and not done:
                    continue
                stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
                for name, key in begun:
                    if database.execute(_RUNNING, (stamp, name, *key)).rowcount:
                        self.counts["running"] += 1
                        number += 1
                        if self._after >= 0:
                            heapq.heappush(due, (now + self._after, number, name, key))
                    else:
                        self.counts["refused"] += 1
                for name, key in done:
                    self.counts["success"] += database.execute(_SUCCESS, (stamp, name, *key)).rowcount
                database.commit()


def main() -> int:
    """Runs until standard input ends; says ``ready`` first and its counts as JSON last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--token")
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--after", type=float, required=True)
    arguments = parser.parse_args()
    standin = StandIn(arguments.url, arguments.token, arguments.database, arguments.after)
    standin.start()
    print("ready", flush=True)
    sys.stdin.read()
    standin.end()
    print(json.dumps(dict(standin.counts)), flush=True)
    if standin.failure is not None:
        print(f"the stand-in failed: {standin.failure!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
