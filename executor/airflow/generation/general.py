"""The general path: the provider's own generator, the deployment's mutation hook, then this executor's fields.

Imports airflow and the provider: for the builder process and for commands, not for the scheduler.
"""

from __future__ import annotations

import copy
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import orjson
from airflow.policies import DefaultPolicy
from airflow.providers.cncf.kubernetes import pod_generator
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator, make_safe_label_value
from airflow.utils import yaml as airflow_yaml
from kubernetes.client import ApiClient, Configuration

from airflow import settings as airflow_settings
from shard_executor.airflow.generation.labels import label_value
from shard_executor.airflow.generation.markers import Markers
from shard_executor.airflow.generation.models import decode_model
from shard_executor.airflow.generation.override_words import fault_of, unwritable
from shard_executor.airflow.generation.own_fields import add_own_fields
from shard_executor.airflow.generation.plan import Plan, check_identifiers
from shard_executor.airflow.generation.request import BuildError, GenerationSettings, PodRequest
from shard_executor.airflow.generation.signatures import Signature
from shard_executor.airflow.generation.subject import Subject, lone_subject, shape_of
from shard_executor.airflow.generation.templates import Templates
from shard_executor.pods.body import ATTEMPT_PLACE, NAME_PLACE
from shard_executor.pods.names import pod_name

MAX_SHAPES = 256  # pods before their hook, kept to be filled with a task's values
_PLAIN = frozenset({int, bool, float, type(None)})


class _SharedConfiguration(Configuration):
    """A client configuration that is not copied with each model that has it: that is most of a merge's time."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _SharedConfiguration:
        return self


class _Workload:
    """A workload that has been written down already."""

    def __init__(self, text: str) -> None:
        self._text = text

    def model_dump_json(self) -> str:
        return self._text


class Compiled(NamedTuple):
    """A shape's pod in pieces; see Plan."""

    texts: list[str]
    slots: list[int]
    namespace: str
    signature: Signature | None


class Generator:
    """Generates pods one by one. Not thread-safe.

    Args:
        settings: what all pods have in common.
    """

    def __init__(self, settings: GenerationSettings) -> None:
        self._settings = settings
        self._owner = make_safe_label_value(settings.owner)
        self._configuration = _SharedConfiguration()
        self._api = ApiClient(configuration=self._configuration)
        self._templates = Templates(settings.jinja, airflow_yaml.safe_load, self._template_model)
        self._markers = Markers(make_safe_label_value)
        self._name = f"{self._markers.token}:name"
        self._attempt = f"{self._markers.token}:attempt"
        self._marked: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def build(self, subject: Subject) -> tuple[str, str]:
        """One pod's body and namespace, the mutation hook included.

        Raises:
            BuildError: it cannot be generated.
        """
        pod = self._before_hook(subject)
        provisional = pod_name(f"{subject.dag_id}-{subject.task_id}", subject.submission, 0)
        pod.metadata.name = provisional
        main = pod.spec.containers[0].name if pod.spec.containers else None
        self._call_hook(pod)
        text, namespace = self._finished(self._sanitized(pod), subject, main)
        return text.replace(provisional, NAME_PLACE), namespace

    def compile(self, subject: Subject) -> Compiled | None:
        """The shape of a subject in pieces, proved on the subject itself; None where values decide more than text.

        The hook is not asked: with one in use, pods are to be built one by one.

        Raises:
            BuildError: no pod of this shape can be generated.
        """
        template, signature = self._templates.get(subject.template, subject.signature)
        if not template.inserts_only:
            return None
        marked = self._markers.put(subject)
        text, namespace = self._finished(self._sanitized(self._constructed(marked)), marked)
        compiled = Compiled(*self._markers.cut(text), namespace, signature)
        filled = Plan.of(*compiled[:3]).fill(_json_values(subject))
        proof, _ = self._finished(self._sanitized(self._constructed(subject)), subject)
        return compiled if orjson.loads(_closed(filled)) == orjson.loads(_closed(proof)) else None

    def whole_pod(self, request: PodRequest) -> dict[str, Any]:
        """The pod of a request as a dict, with the name of its first launch; raises BuildError."""
        check_identifiers(request)
        subject = lone_subject(request, self._settings)
        name = pod_name(f"{subject.dag_id}-{subject.task_id}", subject.submission, 0)
        text, _ = self.build(subject)
        pod: dict[str, Any] = orjson.loads(text.replace(NAME_PLACE, name).replace(ATTEMPT_PLACE, "0"))
        return pod

    def _before_hook(self, subject: Subject) -> Any:
        """The pod as the hook gets it: a copy of its shape's with the subject's values, or one of its own."""
        shape = shape_of(subject)
        try:
            marked = self._marked[shape]
            self._marked.move_to_end(shape)
        except KeyError:
            marked = self._marked[shape] = self._proved_shape(subject)
            if len(self._marked) > MAX_SHAPES:
                self._marked.popitem(last=False)
        if marked is None:
            return self._copy(self._constructed(subject), str)
        values = _raw_values(subject)
        token, fill = self._markers.token, self._markers.fill
        return self._copy(marked, lambda text: fill(text, values) if token in text else text)

    def _proved_shape(self, subject: Subject) -> Any:
        template, _ = self._templates.get(subject.template, subject.signature)
        if not template.inserts_only:
            return None
        marked = self._constructed(self._markers.put(subject))
        values = _raw_values(subject)
        filled = self._copy(marked, lambda text: self._markers.fill(text, values))
        same = self._sanitized(filled) == self._sanitized(self._constructed(subject))
        return marked if same else None

    def _constructed(self, subject: Subject) -> Any:
        """The provider's pod, without the hook. Parts of it belong to the template."""
        template, _ = self._templates.get(subject.template, subject.signature)
        base = template.pod(subject)
        override = None if subject.override is None else decode_model(subject.override, self._configuration)
        try:
            with self._cheap_models():
                return PodGenerator.construct_pod(
                    dag_id=subject.dag_id,
                    task_id=subject.task_id,
                    run_id=subject.run_id,
                    map_index=subject.map_index,
                    try_number=subject.try_number,
                    pod_id="task",
                    kube_image=subject.image,
                    date=None,
                    args=_arguments(subject.workload),
                    pod_override_object=override,
                    base_worker_pod=base,
                    namespace=subject.namespace,
                    scheduler_job_id=self._settings.owner,
                    with_mutation_hook=False,
                )
        except Exception as error:  # merging raises whatever a value of another kind leads to
            raise fault_of(override, subject.template, error.__cause__ or error) from error

    def _call_hook(self, pod: Any) -> None:
        try:
            airflow_settings.pod_mutation_hook(pod)
        except (Exception, SystemExit) as error:  # the deployment's code
            frames = traceback.extract_tb(error.__traceback__)
            where = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
            raise BuildError(
                "PodMutationHookFailed",
                f"pod_mutation_hook raised {type(error).__name__}: {error}{where}; correct the hook in "
                "airflow_local_settings or in the plugin it comes from, and restart the scheduler",
            ) from error

    def _sanitized(self, pod: Any) -> dict[str, Any]:
        try:
            sanitized = self._api.sanitize_for_serialization(pod)
        except Exception as error:  # whatever a value leads to that is neither plain nor a model
            raise BuildError(
                "InvalidPod",
                f"the finished pod cannot be written as JSON ({error}): it may hold text, numbers, lists, dicts and "
                "models of kubernetes.client; look at the pod_override and the pod_mutation_hook",
            ) from error
        if not isinstance(sanitized, dict):
            raise BuildError("InvalidPod", f"the finished pod is no Pod but {type(pod).__name__}")
        return sanitized

    def _finished(self, pod: dict[str, Any], subject: Subject, main: str | None = None) -> tuple[str, str]:
        namespace = add_own_fields(
            pod, subject, self._settings, owner=self._owner, name=self._name, attempt=self._attempt, main=main
        )
        try:
            text = orjson.dumps(pod, option=orjson.OPT_NON_STR_KEYS).decode()
        except (TypeError, ValueError) as error:  # a lone surrogate, a number beyond 64 bits, a set
            words = unwritable(pod) or error
            raise BuildError("InvalidPod", f"the finished pod cannot be written as JSON: {words}") from error
        return text.replace(self._name, NAME_PLACE).replace(self._attempt, ATTEMPT_PLACE), namespace

    def _template_model(self, document: Any) -> Any:
        return self._copy(PodGenerator.deserialize_model_dict(document), str)

    def _copy(self, value: Any, text: Callable[[str], str]) -> Any:
        """A deep copy of a model, its texts changed, all models on the shared configuration."""
        cls = value.__class__
        if cls is str:
            return text(value)
        if cls in _PLAIN:
            return value
        if cls is list:
            return [self._copy(item, text) for item in value]
        if cls is dict:
            return {key: self._copy(item, text) for key, item in value.items()}
        if not hasattr(cls, "openapi_types"):
            return copy.deepcopy(value)
        made = cls.__new__(cls)
        fields = made.__dict__
        for key, item in value.__dict__.items():
            fields[key] = item if item is None or key == "local_vars_configuration" else self._copy(item, text)
        fields["local_vars_configuration"] = self._configuration
        return made

    @contextmanager
    def _cheap_models(self) -> Iterator[None]:
        """Models made meanwhile share one configuration, instead of each making one of its own."""
        before = getattr(Configuration, "_default", None)
        Configuration.set_default(self._configuration)
        try:
            yield
        finally:
            Configuration._default = before


def hooks_in_use() -> list[str]:
    """Where this deployment's implementations of pod_mutation_hook come from; empty where there is none."""
    hook = airflow_settings.pod_mutation_hook
    if getattr(hook, "__module__", None) != airflow_settings.__name__:
        return [f"{getattr(hook, '__module__', '?')}.{getattr(hook, '__qualname__', 'pod_mutation_hook')}"]
    if hasattr(airflow_settings, "get_policy_plugin_manager"):
        manager = airflow_settings.get_policy_plugin_manager()
    else:  # Airflow 3.1
        manager = airflow_settings.POLICY_PLUGIN_MANAGER
    found = manager.hook.pod_mutation_hook.get_hookimpls()
    return [str(impl.plugin_name) for impl in found if impl.plugin is not DefaultPolicy]


def _arguments(workload: str) -> list[str]:
    """What the base container runs: the provider's words, or what its older releases write in line."""
    arguments = getattr(pod_generator, "workload_to_command_args", None)
    if arguments is None:
        return ["python", "-m", "airflow.sdk.execution_time.execute_workload", "--json-string", workload]
    return list(arguments(_Workload(workload)))


def _raw_values(subject: Subject) -> tuple[str, ...]:
    return (
        subject.dag_id,
        label_value(subject.dag_id),
        subject.task_id,
        label_value(subject.task_id),
        subject.run_id,
        label_value(subject.run_id),
        str(subject.try_number),
        str(subject.map_index),
        subject.workload,
        subject.ti_id or "",
        subject.date or "",
        subject.submission,
        subject.bin,
    )


def _json_values(subject: Subject) -> tuple[str, ...]:
    return tuple([orjson.dumps(value).decode()[1:-1] for value in _raw_values(subject)])


def _closed(text: str) -> str:
    """A body with its open places written so that JSON can be read."""
    return text.replace(NAME_PLACE, "name").replace(ATTEMPT_PLACE, "attempt")
