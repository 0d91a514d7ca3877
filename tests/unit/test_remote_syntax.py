"""What is a remote, and what is said of what is none."""
from __future__ import annotations

from pathlib import Path

import ovs.db.idl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import remotes
from agent.remotes import RemoteError, TlsFiles


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    for name in ("k", "c", "a"):
        (tmp_path / name).write_text("no PEM")
    return TlsFiles(str(tmp_path / "k"), str(tmp_path / "c"), str(tmp_path / "a"))


@pytest.mark.parametrize("text", [
    "unix:/run/db.sock", "unix:db.sock", "unix:/a,b", "tcp:127.0.0.1:6640", "tcp:[::1]:65535",
    "tcp:10.0.0.1:6640,tcp:10.0.0.2:6640,unix:/x", "tcp:[fe80::1%eth0]:1"])
def test_good(text: str) -> None:
    remotes.check(text, TlsFiles())


@pytest.mark.parametrize(("text", "said"), [
    ("", "unknown kind ''"), ("foo", "unknown kind 'foo'"), ("/run/db.sock", "unknown kind"),
    ("punix:/x", "unknown kind 'punix'"), ("ptcp:6640", "unknown kind 'ptcp'"),
    ("unix:", "the file is missing"), ("tcp:", "address or port is missing"),
    ("tcp:1.2.3.4", "address or port is missing"), ("ssl:1.2.3.4", "address or port is missing"),
    ("tcp:[::1]", "address or port is missing"), ("tcp::6640", "address or port is missing"),
    ("tcp:1.2.3.4:", "'' is no port"), ("tcp:1.2.3.4:0", "'0' is no port"),
    ("tcp:1.2.3.4:65536", "'65536' is no port"), ("tcp:1.2.3.4:+1", "'+1' is no port"),
    ("tcp:localhost:6640", "'localhost' is no IP address (names are not resolved)"),
    ("tcp:1.2.3:6640", "'1.2.3' is no IP address"), ("tcp:::1:6640", "brackets are wrong"),
    ("tcp:[1.2.3.4]:6640", "brackets are wrong"), ("tcp:[[::1]]:1", "is no IP address"),
    ("tcp:1.2.3.4:5, tcp:1.2.3.4:6", "unknown kind ' tcp'"), ("unix:/x,foo:1", "remote 'foo:1'")])
def test_bad(text: str, said: str) -> None:
    with pytest.raises(RemoteError) as info:
        remotes.check(text, TlsFiles())
    assert said in str(info.value)
    assert str(info.value).endswith(remotes.ALLOWED)


@pytest.mark.parametrize(("given", "missing"), [
    ({}, "--private-key, --certificate, --ca-cert"), ({"certificate": "c"},
                                                      "--private-key, --ca-cert")])
def test_ssl_wants_three_files(given: dict[str, str], missing: str) -> None:
    with pytest.raises(RemoteError, match=f"missing: {missing}$"):
        remotes.check("tcp:1.2.3.4:5,ssl:1.2.3.4:5", TlsFiles(**given))


def test_file_that_is_not_there(files: TlsFiles) -> None:
    Path(str(files.certificate)).unlink()
    with pytest.raises(RemoteError, match=r"^--certificate=.*: No such file or directory$"):
        remotes.check("unix:/x", files)


def test_file_that_holds_something_else(files: TlsFiles) -> None:
    with pytest.raises(RemoteError, match=r"^--ca-cert=.*: no certificates in PEM format"):
        remotes.check("unix:/x", files)


@given(st.lists(st.text("ab:,tcp[]", max_size=6), min_size=1, max_size=4))
def test_lists_are_split_as_python_ovs_splits_them(parts: list[str]) -> None:
    text = ",".join(parts)
    assert remotes.split(text) == ovs.db.idl.Idl._parse_remotes(None, text)


# --- where to listen ------------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "where", "loopback"), [
    ("9945", "127.0.0.1:9945", True), (":9945", "127.0.0.1:9945", True),
    ("0.0.0.0:1", "0.0.0.0:1", False), ("[::1]:65535", "[::1]:65535", True),
    ("[::]:80", "[::]:80", False), ("10.0.0.1:80", "10.0.0.1:80", False)])
def test_address_to_listen_at(text: str, where: str, loopback: bool) -> None:
    found = remotes.listen("--metrics", text)
    assert (str(found), found.is_loopback) == (where, loopback)


@pytest.mark.parametrize(("text", "said"), [
    ("", "'' is no port"), ("0", "'0' is no port"), ("99999", "'99999' is no port"),
    ("::1", "':' is no IP address"), ("localhost:9945", "'localhost' is no IP address"),
    ("localhost", "address or port is missing"), ("1.2.3.4", "address or port is missing"),
    ("[::1]", "address or port is missing"), ("::1:80", "brackets are wrong"),
    ("1.2.3.4:x", "'x' is no port")])
def test_no_address_to_listen_at(text: str, said: str) -> None:
    with pytest.raises(RemoteError) as info:
        remotes.listen("--metrics", text)
    assert str(info.value).startswith(f"--metrics={text}: ")
    assert said in str(info.value)
