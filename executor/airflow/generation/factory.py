"""Pods for tasks: from compiled plans where a shape allows it, else from the builder process. One thread asks."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from shard_executor.airflow.generation import wire
from shard_executor.airflow.generation.builder_process import Answer, BuilderProcess, Job
from shard_executor.airflow.generation.plan import Plan, values_of
from shard_executor.airflow.generation.request import BuildError, BuiltPod, GenerationSettings, PodRequest
from shard_executor.airflow.generation.signatures import Signatures
from shard_executor.airflow.generation.subject import Subject, flags_of, override_bytes, subject_of

# Plans are a few KB each. Tasks whose every override differs would make one plan each: then the oldest go.
MAX_PLANS = 512


class _Logic:
    """In place of a plan: pods of this shape are built one by one."""


_LOGIC = _Logic()
_Found = Plan | BuildError | _Logic


class PodFactory:
    """Builds pods. Constructing starts nothing, and nothing here imports airflow or kubernetes.

    Args:
        settings: what all pods have in common.
    """

    def __init__(self, settings: GenerationSettings) -> None:
        self._settings = settings
        self._builder = BuilderProcess(settings)
        self._signatures = Signatures()
        self._plans: OrderedDict[tuple[Any, ...], _Found] = OrderedDict()
        self._hooks = False

    @property
    def builder_pid(self) -> int | None:
        """Of the builder process, while there is one."""
        return self._builder.pid

    def start(self) -> None:
        """Starts the builder process, so that the first pods need not wait for its imports. Does not wait.

        Raises:
            BuildError: BuilderUnavailable, transient: no process to be had.
        """
        self._builder.start()

    def end(self) -> None:
        """Ends the builder process, also while another thread builds; what needs it is then refused, as transient."""
        self._builder.end()

    def build(self, requests: Sequence[PodRequest]) -> list[BuiltPod | BuildError]:
        """A pod for each request, or why there is none.

        Blocks while the builder process works: some ms for each shape of pod that is new, and for each pod where a
        mutation hook or a template's Jinja has to run. One request's fault is nobody else's.
        """
        built: list[BuiltPod | BuildError | None] = [None] * len(requests)
        try:
            self._look_for_hooks()
        except BuildError as error:
            return [error for _ in requests]
        new: dict[tuple[Any, ...], list[tuple[int, Subject, tuple[str, ...]]]] = {}
        single: list[tuple[int, Subject]] = []
        now = time.monotonic()
        plans = self._plans
        for index, request in enumerate(requests):
            try:
                values = values_of(request)
                override = None if request.pod_override is None else override_bytes(request.pod_override)
            except BuildError as error:
                built[index] = error
                continue
            template = request.pod_template_file or self._settings.template_file
            signature = self._signatures.get(template, now)
            flags = flags_of(request.map_index, request.logical_date, request.ti_id, request.run_id)
            shape = (template, signature, override, request.image, request.namespace, flags)
            found = plans.get(shape)
            if found is not None:
                plans.move_to_end(shape)
            if isinstance(found, Plan):
                built[index] = BuiltPod(found.fill(values), found.namespace)
            elif isinstance(found, BuildError):
                built[index] = found
            else:
                subject = subject_of(request, template, signature, override)
                if self._hooks or found is _LOGIC:
                    single.append((index, subject))
                else:
                    new.setdefault(shape, []).append((index, subject, values))
        if new:
            single += self._compile(new, built)
        if single:
            single.sort()
            answers = self._builder.ask([(wire.BUILD, subject) for _, subject in single])
            for (index, _), answer in zip(single, answers, strict=True):
                built[index] = _pod_of(answer)
        return [_missing() if one is None else one for one in built]

    def _look_for_hooks(self) -> None:
        hooks = bool(self._builder.know_hooks())
        if hooks != self._hooks:
            self._hooks = hooks
            self._plans.clear()

    def _compile(
        self,
        new: dict[tuple[Any, ...], list[tuple[int, Subject, tuple[str, ...]]]],
        built: list[BuiltPod | BuildError | None],
    ) -> list[tuple[int, Subject]]:
        """Has plans made for new shapes and uses them; returns what has to be built one by one."""
        single: list[tuple[int, Subject]] = []
        jobs: list[Job] = [(wire.COMPILE, tasks[0][1]) for tasks in new.values()]
        for (shape, tasks), answer in zip(new.items(), self._builder.ask(jobs), strict=True):
            first, rest = tasks[0], tasks[1:]
            if answer[0] == wire.PLAN:
                _, texts, slots, namespace, read = answer
                plan = Plan.of(texts, slots, namespace)
                for index, _, values in tasks:
                    built[index] = BuiltPod(plan.fill(values), namespace)
                if read == first[1].signature:
                    self._keep(shape, plan)
                else:
                    self._signatures.forget(first[1].template)  # it has changed since it was looked at
                continue
            found = _pod_of(answer)
            built[first[0]] = found
            if answer[0] == wire.ERROR and answer[3]:
                assert isinstance(found, BuildError)
                self._keep(shape, found)
                for index, _, _ in rest:
                    built[index] = found
                continue
            if answer[0] == wire.LOGIC:
                self._keep(shape, _LOGIC)
            single += [(index, subject) for index, subject, _ in rest]
        return single

    def _keep(self, shape: tuple[Any, ...], found: _Found) -> None:
        self._plans[shape] = found
        if len(self._plans) > MAX_PLANS:
            self._plans.popitem(last=False)


def _pod_of(answer: Answer) -> BuiltPod | BuildError:
    if answer[0] == wire.ERROR:
        return BuildError(answer[1], answer[2], transient=len(answer) > 4 and answer[4])
    _, body, namespace = answer
    return BuiltPod(body, namespace)


def _missing() -> BuildError:
    return BuildError("BuildFailed", "no pod was generated: this is a defect of shard-executor")
