"""`PodExecutor`: runs tasks as pods behind the interface of `concurrent.futures`."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from shard_executor.core.tries import TryLimits
from shard_executor.futures.at_exit import let_go, watch_over
from shard_executor.futures.dispatcher import END_LIMIT, Dispatcher
from shard_executor.futures.future import TaskFuture, results_in_order
from shard_executor.futures.outcome import TaskResult
from shard_executor.futures.pods import TaskPods, Template, read_template
from shard_executor.futures.starting import Settings, name_run
from shard_executor.pods.task import TaskSpec
from shard_executor.supervisor.config import default_shards

if TYPE_CHECKING:
    from shard_executor.supervisor import ShardStats

_STOP_MARGIN = 10.0  # seconds beyond the limits of its parts that a stop is waited for before it is given up


class PodExecutor(Executor):
    """Runs tasks as pods and gives a future for each. Constructing starts nothing.

    Thread-safe. Belongs to the process that made it: a forked child cannot use it.

    Args:
        kubeconfig, context: where the cluster is; None as kubectl has it, then the service account of a pod.
        namespace: of the pods; None is the context's, else `default`.
        template: a Pod that each task's fields are merged into: the path of a YAML file, or a mapping.
        shards: shard processes, 1 to 256; None is min(CPUs, 2).
        parallelism: pods alive at a time.
        run_id: name of this run in the pods' labels; None makes one up.
        keep_pods: leave pods on the cluster after their result is set: all of them, or only the "failed" ones.
        log_tail: lines of a failed pod's log in its `TaskFailed`, 0 to 1000.
        stop_timeout: seconds that `stop`, and a `with` block that ends by an exception, wait for pods to be deleted.
        access_timeout: seconds that the API server may refuse to show this executor its pods (credentials or
            permissions withdrawn) before every open future ends with `BrokenPodExecutor`; None waits for ever.
        retries: how often a failed task is run again, each time in a new pod, where its `TaskSpec` does not say.
        retry_delay: seconds before the first retry of a task, drawn between half and the whole of that; doubled with
            each, at most 10 minutes.
        disruption_retries: how often a task is run again, beside its retries, when the cluster took its pod away
            (drain, preemption, eviction, lost node).

    Raises:
        ConfigError: a setting that cannot work.
        TemplateError: the template cannot be used.
    """

    def __init__(
        self,
        kubeconfig: str | os.PathLike[str] | None = None,
        context: str | None = None,
        namespace: str | None = None,
        template: Template | None = None,
        shards: int | None = None,
        parallelism: int = 100,
        run_id: str | None = None,
        keep_pods: bool | Literal["failed"] = False,
        log_tail: int = 20,
        *,
        stop_timeout: float = 45.0,
        access_timeout: float | None = 600.0,
        retries: int = 0,
        retry_delay: float = 10.0,
        disruption_retries: int = 10,
    ) -> None:
        self.run_id, instance = name_run(run_id)
        self._settings = Settings(
            kubeconfig=None if kubeconfig is None else os.fspath(kubeconfig),
            context=context,
            namespace=namespace,
            shards=default_shards() if shards is None else shards,
            parallelism=parallelism,
            run_id=self.run_id,
            instance=instance,
            keep_pods=keep_pods,
            log_tail=log_tail,
            access_timeout=access_timeout,
            tries=TryLimits(retries, retry_delay, disruption_retries=disruption_retries),
        )
        self._settings.check()
        self._stop_timeout = stop_timeout
        self._pods = TaskPods(read_template(template), instance=instance, run_id=self.run_id)
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._dispatcher: Dispatcher | None = None
        self._shut = False
        self._pid = os.getpid()

    # ---- starting

    def start(self) -> PodExecutor:
        """Resolves credentials, asks the cluster what the run needs and starts the shard processes. Blocking.

        Harmless when repeated; after a failure it may be tried again. `with` and the first `submit` call it.

        Raises:
            CredentialError: there is no cluster to talk to, or no way to sign in.
            ClusterError: the cluster cannot be reached, the namespace does not exist, or a permission is missing.
            TemplateError: the template is meant for another namespace.
            OSError: a process could not be started.
            RuntimeError: after `shutdown`, or in a forked child.
        """
        self._started()
        return self

    def _started(self) -> Dispatcher:
        self._check_process()
        with self._lock:
            if self._dispatcher is not None:
                self._dispatcher.check_open()
                return self._dispatcher
            if self._shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            watch_over(self)
            try:
                self._dispatcher = self._settings.start(self._pods, lambda: let_go(self))
            except BaseException:
                let_go(self)
                raise
            return self._dispatcher

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError("this PodExecutor belongs to the parent of this forked process; make one here")

    # ---- submitting

    def submit(  # type: ignore[override]  # the base class takes a callable; a pod runs a command
        self,
        task: TaskSpec | str,
        /,
        *words: str,
        id: str | None = None,
        image: str | None = None,
        env: Mapping[str, str | int | float | bool] | Sequence[Mapping[str, Any]] | None = None,
        resources: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        template: str | None = None,
        retries: int | None = None,
        timeout: int | None = None,
        priority: int | None = None,
        namespace: str | None = None,
        service_account: str | None = None,
        node_selector: Mapping[str, str] | None = None,
        tolerations: Sequence[Mapping[str, Any]] | None = None,
    ) -> TaskFuture:
        """Submits a `TaskSpec`, or a command word by word with the other fields of a `TaskSpec` as keywords.

        Returns at once (the first call starts the executor, see `start`). A command without an id is named `task-1`,
        `task-2`, ... The future becomes running when its container runs, and stays that until the task's last try has
        ended.

        Raises:
            TaskError: a field is wrong, there is no image, the namespace is not this executor's, or the id was
                submitted before to it.
            TemplateError: the task's template cannot be used.
            RuntimeError: after `shutdown`, or in a forked child.
            BrokenPodExecutor: the engine has failed before.
            TypeError: neither a `TaskSpec` nor a command.
            Exception: whatever `start` raises.
        """
        fields: dict[str, Any] = {
            "id": id,
            "image": image,
            "env": env,
            "resources": resources,
            "labels": labels,
            "annotations": annotations,
            "template": template,
            "retries": retries,
            "timeout": timeout,
            "priority": priority,
            "namespace": namespace,
            "service_account": service_account,
            "node_selector": node_selector,
            "tolerations": tolerations,
        }
        given = {name: value for name, value in fields.items() if value is not None}
        if isinstance(task, TaskSpec):
            if words or given:
                raise TypeError("a TaskSpec says it all: submit takes no further arguments beside it")
            return self._submit(task)
        if not isinstance(task, str):
            raise TypeError(f"submit takes a TaskSpec or the words of a command, not {task!r}: pods run no callables")
        if id is not None:
            return self._submit(TaskSpec(command=[task, *words], **given))
        while True:
            name = f"task-{next(self._numbers)}"
            if self._dispatcher is None or not self._dispatcher.knows(name):
                return self._submit(TaskSpec(id=name, command=[task, *words], **given))

    def _submit(self, task: TaskSpec) -> TaskFuture:
        self._pods.check(task)
        dispatcher = self._started()
        self._pods.check(task)  # once more: now the namespace is known
        return dispatcher.submit(task)

    def map(  # type: ignore[override]  # as with submit: tasks instead of a callable and its arguments
        self, tasks: Iterable[TaskSpec], *, timeout: float | None = None, return_exceptions: bool = False
    ) -> Iterator[Any]:
        """Submits all tasks at once and yields their results in the tasks' order.

        Args:
            tasks: if one of them is refused, those before it are cancelled and nothing is returned.
            timeout: seconds from now until all results have to be there.
            return_exceptions: yield a `TaskFailed` in its place instead of raising it.

        Raises (while iterating): TaskFailed of the first task that did not succeed, or TimeoutError; tasks that have
            not begun are then cancelled, as they are when the iterator is closed.
        """
        end = None if timeout is None else time.monotonic() + timeout
        futures: list[TaskFuture] = []
        try:
            for task in tasks:
                if not isinstance(task, TaskSpec):
                    raise TypeError(f"map takes TaskSpecs, not {task!r}")
                futures.append(self.submit(task))
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        return results_in_order(futures, end, return_exceptions)

    def cancel(self, future: Future[TaskResult]) -> bool:
        """Cancels a task even if its pod is running; returns at once.

        One that has not begun is cancelled as by `future.cancel()`. The pod of a running one is deleted, and when that
        is confirmed its future raises `TaskRevoked`, or has its real outcome if it ended first. One that waits for its
        next try ends at once. No further try follows.

        Returns: False if the future was done before, else True.
        Raises:
            ValueError: the future is not of this executor.
        """
        self._check_process()
        if self._dispatcher is None:
            raise ValueError("this future is not one of this executor's")
        return self._dispatcher.cancel(future)

    # ---- ending

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes nothing more. Open tasks run to their end, retries included, then the shard processes leave.

        Args:
            wait: until all futures are done, finished pods are deleted (at most a minute) and the processes have left.
            cancel_futures: cancel the tasks that have not begun; their pods, if any, are deleted. One that waits for
                another try after it ran has begun: it goes on.

        Raises:
            RuntimeError: `wait` on the executor's own thread, that is in a callback.
        """
        dispatcher = self._shut_down()
        if dispatcher is None:
            return
        dispatcher.close(cancel_futures=cancel_futures)
        if wait:
            self._refuse_own_thread(dispatcher)
            dispatcher.ended.wait()

    def stop(self, wait: bool = True) -> None:
        """Takes nothing more, begins no further try and ends every open task.

        Those that have not begun are cancelled, the pods of running ones deleted.
        Their futures are cancelled or raise `TaskRevoked`, the latter at the latest after `stop_timeout` seconds.

        Args:
            wait: until that is done and the shard processes have left.

        Raises:
            RuntimeError: `wait` on the executor's own thread, that is in a callback.
        """
        dispatcher = self._shut_down()
        if dispatcher is None:
            return
        dispatcher.stop(self._stop_timeout)
        if wait:
            self._refuse_own_thread(dispatcher)
            dispatcher.ended.wait(self._stop_timeout + END_LIMIT + _STOP_MARGIN)

    def _shut_down(self) -> Dispatcher | None:
        """Lets nothing start any more; what there is to end, if anything and if it is this process's."""
        if os.getpid() != self._pid:
            return None
        with self._lock:  # waits for a start that is under way
            self._shut = True
            return self._dispatcher

    def _refuse_own_thread(self, dispatcher: Dispatcher) -> None:
        if dispatcher.on_own_thread:
            raise RuntimeError("a callback cannot wait for its executor: use wait=False")

    def __enter__(self) -> PodExecutor:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits for all tasks; if the block, or that wait, ends by an exception such as KeyboardInterrupt, `stop`s."""
        if kind is not None:
            self.stop()
            return
        try:
            self.shutdown()
        except BaseException:
            self.stop()
            raise

    # ---- looking

    @property
    def pods_left(self) -> list[tuple[str, str]]:
        """Finished pods that the cluster would not delete, as namespace/name, with its words."""
        return self._dispatcher.pods_left if self._dispatcher is not None else []

    def stats(self) -> list[ShardStats]:
        """What each shard process said of itself last; empty before the start."""
        return self._dispatcher.stats() if self._dispatcher is not None else []
