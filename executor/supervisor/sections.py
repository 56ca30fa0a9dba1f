"""Turns one kubeconfig context, or a pod's service account, into Credentials, through the `kubernetes` loaders.

The loaders see one context with the files already in place; the checks here are the ones they leave out. They are
imported inside the functions, so that a shard or a plain import never pays for them.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import ssl
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shard_executor.core.credentials import Credentials
from shard_executor.supervisor.exec_plugin import ExecCredential
from shard_executor.supervisor.kubeconfig import CredentialError, KubeContext
from shard_executor.supervisor.material import Material
from shard_executor.supervisor.proxies import is_loopback, proxy_for

log = logging.getLogger(__name__)


def from_context(
    context: KubeContext, identity: ExecCredential | str | None, environ: Mapping[str, str], material: Material
) -> Credentials:
    """Credentials for a kubeconfig's context.

    identity: the answer of the user's exec plugin, or an auth-provider's Authorization header, where it has one.
    environ: for the proxy. material: keeps the certificate files. Raises CredentialError.
    """
    from kubernetes import client, config

    where = f"cluster {context.cluster_name!r} of {context.describe()}"
    server = _server(context.cluster.get("server"), where)
    cluster: dict[str, Any] = {"server": server}
    ca = _read(context.cluster, "certificate-authority", where)
    if context.cluster.get("insecure-skip-tls-verify"):
        if ca:
            raise CredentialError(f"{where}: insecure-skip-tls-verify and a certificate-authority exclude each other")
        cluster["insecure-skip-tls-verify"] = True
    if ca is not None:
        _check_ca(ca, where)
        cluster["certificate-authority"] = material.keep(ca)
    if context.cluster.get("tls-server-name"):
        cluster["tls-server-name"] = str(context.cluster["tls-server-name"])
    user = {} if _is_bare(server, context) else _user(context, identity, material)
    configuration = client.Configuration()
    try:
        config.load_kube_config_from_dict(
            {
                "clusters": [{"name": context.cluster_name, "cluster": cluster}],
                "users": [{"name": context.user_name, "user": user}],
                "contexts": [
                    {"name": context.context, "context": {"cluster": context.cluster_name, "user": context.user_name}}
                ],
                "current-context": context.context,
            },
            client_configuration=configuration,
            persist_config=False,
        )
    except config.ConfigException as error:
        raise CredentialError(f"{context.describe()}: {error}") from error
    headers = _impersonation(context)
    token, authorization = authorization_of(configuration)
    if isinstance(identity, str) and user:
        token, authorization = _split_authorization(identity)
    if authorization:
        headers["Authorization"] = authorization
    proxy, proxy_headers = proxy_for(server, context.cluster.get("proxy-url"), environ)
    return Credentials(
        host=configuration.host,
        ca_file=configuration.ssl_ca_cert,
        cert_file=configuration.cert_file,
        key_file=configuration.key_file,
        verify=configuration.verify_ssl,
        server_name=configuration.tls_server_name or None,
        token=token,
        proxy=proxy,
        proxy_headers=proxy_headers,
        extra_headers=headers,
        namespace=context.namespace,
    )


def from_service_account(folder: str, environ: Mapping[str, str], material: Material) -> Credentials:
    """Credentials of the pod this process runs in ("Accessing the Kubernetes API from a Pod").

    folder: where token, ca.crt and namespace are mounted. Raises CredentialError.
    """
    from kubernetes import client, config
    from kubernetes.config.incluster_config import InClusterConfigLoader

    token_file, ca_file = os.path.join(folder, "token"), os.path.join(folder, "ca.crt")
    configuration = client.Configuration()
    loader = InClusterConfigLoader(
        token_filename=token_file, cert_filename=ca_file, try_refresh_token=False, environ=environ
    )
    try:
        loader.load_and_set(configuration)
        ca = Path(ca_file).read_bytes()
    except (config.ConfigException, OSError) as error:
        raise CredentialError(
            f"service account in {folder}: {error} Run inside a pod with automountServiceAccountToken, "
            "or name a kubeconfig with --kubeconfig"
        ) from error
    _check_ca(ca, ca_file)
    token, _ = authorization_of(configuration)
    if not token:
        raise CredentialError(f"service account token {token_file} is empty; it is read again in a minute")
    proxy, proxy_headers = proxy_for(configuration.host, None, environ)
    namespace = Path(folder, "namespace")
    return Credentials(
        host=configuration.host,
        ca_file=material.keep(ca),
        token=token,
        proxy=proxy,
        proxy_headers=proxy_headers,
        namespace=(namespace.read_text(encoding="utf-8").strip() or None) if namespace.is_file() else None,
    )


def with_trust(built: Credentials, verify: bool, ca_file: str | None, material: Material) -> Credentials:
    """The credentials with another judgement of the server's certificate.

    verify: False accepts any. ca_file: CA bundle in PEM instead of theirs; it is read here. Raises CredentialError.
    """
    if not verify:
        return replace(built, verify=False)
    if ca_file is None:
        return built
    try:
        ca = Path(ca_file).read_bytes()
    except OSError as error:
        raise CredentialError(f"CA bundle {ca_file} cannot be read: {error.strerror}") from error
    _check_ca(ca, ca_file)
    return replace(built, ca_file=material.keep(ca))


def provider_header(context: KubeContext) -> str:
    """The Authorization header of a user with an auth-provider (oidc, gcp), fetched by the `kubernetes` loader.

    Blocking. A refreshed token is written back to the kubeconfig, as kubectl does: an identity provider may accept a
    refresh token once only. Raises CredentialError.
    """
    from kubernetes import client, config

    name = context.user["auth-provider"].get("name") if isinstance(context.user["auth-provider"], dict) else None
    where = f"user {context.user_name!r} of {context.describe()}"
    configuration = client.Configuration()
    try:
        config.load_kube_config(
            config_file=os.pathsep.join(context.files), context=context.context, client_configuration=configuration
        )
        header = _header(configuration)
    # The loader lets its HTTP and OAuth libraries' errors through, which have no common class.
    except Exception as error:
        raise CredentialError(f"{where}: the auth-provider {name!r} failed: {type(error).__name__}: {error}") from error
    if not header:
        raise CredentialError(
            f"{where}: the auth-provider {name!r} gave no token; log in again, or use an exec plugin, which replaced it"
        )
    return header


def ca_data(context: KubeContext) -> str | None:
    """The cluster's CA bundle in base64, as exec plugins with provideClusterInfo get it."""
    ca = _read(context.cluster, "certificate-authority", f"cluster {context.cluster_name!r} of {context.describe()}")
    return base64.b64encode(ca).decode() if ca else None


def _server(value: object, where: str) -> str:
    server = str(value or "").rstrip("/")
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CredentialError(f"{where}: server {server!r} must be a URL such as https://10.0.0.1:6443")
    return server


def _is_bare(server: str, context: KubeContext) -> bool:
    """Whether to send no identity at all: plain HTTP to another machine would show it to everyone on the way.

    kubectl sends none over plain HTTP at all; loopback is allowed here, where a development cluster listens.
    """
    parts = urlsplit(server)
    if parts.scheme == "https" or is_loopback(parts.hostname or "") or not context.user:
        return False
    log.warning("%s is not encrypted: the user %r of %s is not sent", server, context.user_name, context.describe())
    return True


def _user(context: KubeContext, identity: ExecCredential | str | None, material: Material) -> dict[str, Any]:
    """The user section for the loader: a token or a password, and a client certificate in files."""
    where = f"user {context.user_name!r} of {context.describe()}"
    section = context.user
    user: dict[str, Any] = {}
    certificate = _read(section, "client-certificate", where)
    key = _read(section, "client-key", where)
    token = _token(section, where)
    if isinstance(identity, ExecCredential) and not token:
        token = identity.token
        certificate, key = identity.certificate or certificate, identity.key or key
    if (certificate is None) != (key is None):
        raise CredentialError(f"{where}: client-certificate and client-key belong together, one is missing")
    if certificate is not None and key is not None:
        user["client-certificate"], user["client-key"] = material.keep(certificate), material.keep(key)
        _check_pair(user["client-certificate"], user["client-key"], where)
    if token:
        user["token"] = token
    elif section.get("username") is not None and section.get("password") is not None:
        user["username"], user["password"] = str(section["username"]), str(section["password"])
    elif isinstance(identity, str):
        user["token"] = "of the auth-provider"
    return user


def _token(section: dict[str, Any], where: str) -> str | None:
    """The file's token if there is a file that can be read, else the token in the kubeconfig (client-go's order)."""
    inline = str(section["token"]).strip() if section.get("token") else None
    path = section.get("tokenFile")
    if not path:
        return inline
    try:
        token = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        if inline:
            return inline
        raise CredentialError(f"{where}: tokenFile {path} cannot be read: {error}") from error
    if not token and not inline:
        raise CredentialError(f"{where}: tokenFile {path} is empty")
    return token or inline


def _read(section: dict[str, Any], key: str, where: str) -> bytes | None:
    """The bytes of `key`-data (base64), else of the file that `key` names; None where there is neither."""
    data = section.get(f"{key}-data")
    if data:
        try:
            return base64.b64decode(str(data), validate=False)
        except (binascii.Error, ValueError) as error:
            raise CredentialError(f"{where}: {key}-data is not base64: {error}") from error
    path = section.get(key)
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CredentialError(f"{where}: {key} {path} cannot be read: {error.strerror}") from error


def _check_ca(content: bytes, where: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=content.decode("utf-8", "replace"))
    except (ssl.SSLError, ValueError) as error:
        raise CredentialError(f"{where}: the certificate-authority holds no certificate in PEM: {error}") from error


def _check_pair(cert_file: str, key_file: str, where: str) -> None:
    def no_password() -> str:
        raise CredentialError(f"{where}: the client-key is encrypted, which kubectl cannot use either; decrypt it")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert_file, key_file, password=no_password)
    except ssl.SSLError as error:
        raise CredentialError(
            f"{where}: the client certificate and key do not fit or are no PEM ({error.reason or error}); "
            "if they are being rotated, this passes by itself"
        ) from error


def _header(configuration: Any) -> str | None:
    """The loader's Authorization header; the key that it hides behind differs between releases of the package."""
    setting = configuration.auth_settings().get("BearerToken")
    return setting["value"] if setting else None


def authorization_of(configuration: Any) -> tuple[str | None, str | None]:
    """A client configuration's (bearer token, None), or (None, the whole Authorization header) for other schemes."""
    header = _header(configuration)
    return _split_authorization(header) if header else (None, None)


def _split_authorization(header: str) -> tuple[str | None, str | None]:
    """(bearer token, None), or (None, the whole header) for other schemes."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip() or None, None
    return None, header


def _impersonation(context: KubeContext) -> dict[str, str]:
    """The Impersonate-* headers ("User impersonation", Kubernetes documentation). Never dropped: that would act as
    the real user, with more rights than asked for."""
    user = context.user
    where = f"user {context.user_name!r} of {context.describe()}"
    headers: dict[str, str] = {}
    for key, header in (("as", "Impersonate-User"), ("as-uid", "Impersonate-Uid")):
        if user.get(key):
            headers[header] = str(user[key])
    groups, extra = user.get("as-groups") or [], user.get("as-user-extra") or {}
    if (groups or extra or user.get("as-uid")) and "Impersonate-User" not in headers:
        raise CredentialError(f"{where}: as-uid, as-groups and as-user-extra need 'as'")
    if len(groups) > 1 or any(len(values) > 1 for values in extra.values()):
        raise CredentialError(f"{where}: more than one value in as-groups or as-user-extra is not supported")
    for group in groups:
        headers["Impersonate-Group"] = str(group)
    for name, values in extra.items():
        for value in values:
            headers[f"Impersonate-Extra-{name}"] = str(value)
    return headers
