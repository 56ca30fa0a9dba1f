"""shard.api: tokens, TLS, client certificates, proxies, and replacing any of them while requests are in flight."""

import asyncio
import gc
import ssl

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from api_session import Session, eventually, fault_from, run
from fake_api import HANG, FakeApi, Reply, Stream
from shard_executor.core.credentials import Credentials
from shard_executor.core.faults import Fault
from shard_executor.shard.api import Api, TransportFault


def test_a_new_token_keeps_the_connections():
    async def scenario():
        async with Session(Reply(), Reply(), token="old") as (api, fake):
            await api.request("GET", "/x", timeout=5)
            api.replace_credentials(Credentials(host=fake.host, token="new\n"))
            await api.request("GET", "/x", timeout=5)
            assert [request.headers["authorization"] for request in fake.requests] == ["Bearer old", "Bearer new"]
            assert fake.connections == 1

    run(scenario())


def test_another_host_takes_new_requests_while_old_ones_end_where_they_began():
    async def scenario():
        stream = Stream()
        async with Session(HANG, stream) as (api, old), FakeApi(Reply(200, b"new")) as new:
            hanging = asyncio.ensure_future(api.request("GET", "/x", timeout=5))
            await old.wait_for_requests(1)
            async with api.stream("/w", accept="a", connect_timeout=5) as answer:
                api.replace_credentials(Credentials(host=new.host))
                assert (await api.request("GET", "/x", timeout=5)).body == b"new"
                await stream.send(b"still here")
                assert await answer.read() == b"still here"
                assert old.open_connections == 2
            hanging.cancel()
            await asyncio.gather(hanging, return_exceptions=True)
            await eventually(lambda: old.open_connections == 0)

    run(scenario())


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def files(authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other-ca.pem")
    client = authority.issue_cert("client@example.org", common_name="client")
    client.cert_chain_pems[0].write_to_path(folder / "client.pem")
    client.private_key_pem.write_to_path(folder / "client-key.pem")
    (folder / "broken.pem").write_text("no certificate")
    (folder / "empty.pem").write_text("")
    return folder


def server_tls(authority, *names, client_ca=False):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    if client_ca:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_tls_is_verified_against_the_ca_file(authority, files):
    async def scenario():
        tls = server_tls(authority, "127.0.0.1")
        async with Session(Reply(), tls=tls, ca_file=str(files / "ca.pem")) as (api, _):
            assert (await api.request("GET", "/x", timeout=5)).status == 200
        async with Session(tls=tls, ca_file=str(files / "other-ca.pem")) as (api, _):
            assert (await fault_from(api.request("GET", "/x", timeout=5))).fault is Fault.TLS
        async with Session(tls=tls) as (api, _):
            assert (await fault_from(api.request("GET", "/x", timeout=5))).fault is Fault.TLS

    run(scenario())


def test_an_intermediate_certificate_alone_is_trusted_as_other_clients_trust_it(authority, tmp_path):
    """Go's x509 accepts whatever the CA file holds as the chain's end; kubeconfigs rely on it."""

    async def scenario():
        intermediate = authority.create_child_ca()
        intermediate.cert_pem.write_to_path(tmp_path / "intermediate.pem")
        ca = str(tmp_path / "intermediate.pem")
        async with Session(Reply(), tls=server_tls(intermediate, "127.0.0.1"), ca_file=ca) as (api, _):
            assert (await api.request("GET", "/x", timeout=5)).status == 200
        for tls in (server_tls(intermediate, "kubernetes"), server_tls(trustme.CA(), "127.0.0.1")):
            async with Session(tls=tls, ca_file=ca) as (api, _):
                assert (await fault_from(api.request("GET", "/x", timeout=5))).fault is Fault.TLS

    run(scenario())


def test_an_encrypted_key_is_refused_without_asking_the_terminal(files, tmp_path):
    async def scenario():
        key = serialization.load_pem_private_key((files / "client-key.pem").read_bytes(), None)
        secret = serialization.BestAvailableEncryption(b"secret")
        form = serialization.PrivateFormat.TraditionalOpenSSL
        (tmp_path / "locked-key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, secret))
        pair = {"cert_file": str(files / "client.pem"), "key_file": str(tmp_path / "locked-key.pem")}
        info = await fault_from(Api(Credentials(host="https://127.0.0.1:1", **pair)).start())
        assert info.fault is Fault.TLS
        assert "locked-key.pem" in info.message

    run(scenario())


def test_tls_names_are_verified_and_may_be_given(authority, files):
    async def scenario():
        tls = server_tls(authority, "kubernetes.default")
        ca = str(files / "ca.pem")
        async with Session(tls=tls, ca_file=ca) as (api, _):
            assert (await fault_from(api.request("GET", "/x", timeout=5))).fault is Fault.TLS
        async with Session(Reply(), Stream(b"x"), tls=tls, ca_file=ca, server_name="kubernetes.default") as (api, _):
            assert (await api.request("GET", "/x", timeout=5)).status == 200
            async with api.stream("/w", accept="a", connect_timeout=5) as stream:
                assert await stream.read() == b"x"
        async with Session(Reply(), tls=tls, verify=False) as (api, _):
            assert (await api.request("GET", "/x", timeout=5)).status == 200

    run(scenario())


def test_client_certificates(authority, files):
    async def scenario():
        tls = server_tls(authority, "127.0.0.1", client_ca=True)
        ca = str(files / "ca.pem")
        pair = {"cert_file": str(files / "client.pem"), "key_file": str(files / "client-key.pem")}
        async with Session(Reply(), tls=tls, ca_file=ca, **pair) as (api, _):
            assert (await api.request("GET", "/x", timeout=5)).status == 200
        async with Session(tls=tls, ca_file=ca) as (api, _):
            info = await fault_from(api.request("POST", "/x", body=b"", timeout=5))
            assert info.fault in (Fault.TLS, Fault.DISCONNECTED)

    run(scenario())


@pytest.mark.parametrize("name", ["missing.pem", "broken.pem", "empty.pem"])
def test_an_unusable_file_is_named(files, name):
    async def scenario():
        api = Api(Credentials(host="https://127.0.0.1:1", ca_file=str(files / name)))
        info = await fault_from(api.start())
        assert info.fault is Fault.TLS
        assert name in info.message

    run(scenario())


def test_rotated_files_under_the_same_names_open_new_connections(authority, files, tmp_path):
    async def scenario():
        ca = tmp_path / "ca.pem"
        ca.write_bytes((files / "ca.pem").read_bytes())
        tls = server_tls(authority, "127.0.0.1")
        async with Session(Reply(), Reply(), tls=tls, ca_file=str(ca)) as (api, fake):
            await api.request("GET", "/x", timeout=5)
            api.replace_credentials(api.credentials)
            await api.request("GET", "/x", timeout=5)
            assert fake.connections == 1
            ca.write_bytes((files / "other-ca.pem").read_bytes())
            api.replace_credentials(api.credentials)
            assert (await fault_from(api.request("GET", "/x", timeout=5))).fault is Fault.TLS
            await eventually(lambda: fake.open_connections == 0)

    run(scenario())


def test_unusable_new_credentials_leave_the_old_ones_in_force(authority, files):
    async def scenario():
        tls = server_tls(authority, "127.0.0.1")
        async with Session(Reply(), tls=tls, ca_file=str(files / "ca.pem")) as (api, fake):
            with pytest.raises(TransportFault):
                api.replace_credentials(Credentials(host=fake.host, ca_file=str(files / "broken.pem")))
            assert (await api.request("GET", "/x", timeout=5)).status == 200

    run(scenario())


def test_many_replacements_leak_no_session(authority, files):
    async def scenario():
        tls = server_tls(authority, "127.0.0.1")
        async with Session(*[Reply()] * 30, tls=tls, ca_file=str(files / "ca.pem")) as (api, fake):
            for round in range(30):
                await api.request("GET", "/x", timeout=5)
                api.replace_credentials(
                    Credentials(host=fake.host, ca_file=str(files / "ca.pem"), verify=round % 2 == 0)
                )
            await eventually(lambda: fake.open_connections <= 1)
            assert len(api._retired) <= 2

    run(scenario())
    gc.collect()  # an unclosed session would warn here, and warnings are errors


def test_requests_through_a_proxy():
    async def scenario():
        async with FakeApi(Reply(200, b"via proxy")) as proxy:
            api = Api(Credentials(host="http://cluster.invalid:6443", proxy=proxy.host, proxy_headers={"X-Proxy": "1"}))
            await api.start()
            answer = await api.request("GET", "/x", timeout=5)
            await api.end()
            assert answer.body == b"via proxy"
            assert proxy.requests[0].headers["host"] == "cluster.invalid:6443"

    run(scenario())


def test_a_proxy_that_refuses_connect_is_a_named_fault():
    async def scenario():
        for status, fault in ((407, Fault.PROTOCOL), (503, Fault.UNAVAILABLE)):
            async with FakeApi(Reply(status)) as proxy:
                api = Api(Credentials(host="https://cluster.invalid:6443", proxy=proxy.host))
                await api.start()
                assert (await fault_from(api.request("GET", "/x", timeout=5))).fault is fault
                await api.end()
                assert proxy.requests[0].method == "CONNECT"

    run(scenario())
