"""Remotes of an OVSDB, and the files that TLS needs, checked before anything starts."""
from __future__ import annotations

import ipaddress
import re
import ssl
from dataclasses import dataclass

ALLOWED = ("a remote is unix:FILE, tcp:IP:PORT or ssl:IP:PORT (an IPv6 address in brackets), or "
           "several of these, separated by commas")
LOOPBACK = "127.0.0.1"


class RemoteError(ValueError):
    """What was given cannot be used; the text says why and what is allowed."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files by which we and an ssl: remote know each other."""

    private_key: str | None = None
    certificate: str | None = None
    ca_cert: str | None = None

    def _by_option(self) -> dict[str, str | None]:
        return {"--private-key": self.private_key, "--certificate": self.certificate,
                "--ca-cert": self.ca_cert}

    def missing(self) -> list[str]:
        """Options without a file."""
        return [option for option, file in self._by_option().items() if file is None]

    def check(self) -> None:
        """Raises RemoteError when a file that was named cannot be used."""
        for option, file in self._by_option().items():
            if file is not None:
                try:
                    with open(file, "rb"):
                        pass
                except OSError as e:
                    raise RemoteError(f"{option}={file}: {e.strerror}") from e
        if not self.missing():
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            what = f"--ca-cert={self.ca_cert}: no certificates in PEM format"
            try:
                context.load_verify_locations(self.ca_cert)
                what = (f"--private-key={self.private_key}, --certificate={self.certificate}: no "
                        "key and certificate in PEM format that belong together")
                # without a password: at the prompt for one the start would wait for ever
                context.load_cert_chain(str(self.certificate), self.private_key, password="")
            except (ssl.SSLError, ValueError) as e:
                raise RemoteError(f"{what} ({getattr(e, 'reason', None) or e})") from e


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen with TCP."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else (
            f"{self.address}:{self.port}")

    @property
    def is_loopback(self) -> bool:
        return ipaddress.ip_address(self.address).is_loopback


def listen(option: str, text: str) -> Listen:
    """IP:PORT, an IPv6 address in brackets, or PORT or :PORT of the loopback, which is the value
    of an option. Raises RemoteError."""
    whole = f"{LOOPBACK}:{text.lstrip(':')}" if re.fullmatch(":?[0-9]*", text) else text
    if problem := _address_problem(whole):
        raise RemoteError(f"{option}={text}: {problem}; a value is IP:PORT (an IPv6 address in "
                          f"brackets), or PORT alone for {LOOPBACK}")
    address, _, port = whole.rpartition(":")
    return Listen(address.strip("[]"), int(port))


def split(text: str) -> list[str]:
    """The remotes of a list, taken apart as python-ovs does: what holds no colon belongs to the
    file name before it."""
    remotes: list[str] = []
    for part in text.split(","):
        if remotes and ":" not in part:
            remotes[-1] += f",{part}"
        else:
            remotes.append(part)
    return remotes


def check(text: str, files: TlsFiles) -> None:
    """Raises RemoteError when a remote, or the list of them, cannot be used."""
    for remote in split(text):
        if problem := _problem(remote):
            raise RemoteError(f"remote '{remote}': {problem}; {ALLOWED}")
        if remote.startswith("ssl:") and (missing := files.missing()):
            raise RemoteError(f"remote '{remote}' needs the options --private-key, --certificate "
                              f"and --ca-cert, missing: {', '.join(missing)}")
    files.check()


def _problem(remote: str) -> str | None:
    kind, _, rest = remote.partition(":")
    if kind == "unix":
        return None if rest else "the file is missing"
    if kind not in ("tcp", "ssl"):
        return f"unknown kind '{kind}'"
    return _address_problem(rest)


def _address_problem(text: str) -> str | None:
    """What is wrong with 'text' as IP:PORT."""
    host, _, port = text.rpartition(":")
    if not host or (host.startswith("[") and not host.endswith("]")):
        return "address or port is missing"
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        return f"'{port}' is no port (1 to 65535)"
    address = host[1:-1] if host.startswith("[") else host
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return f"'{address}' is no IP address (names are not resolved)"
    return None if (version == 6) == host.startswith("[") else f"brackets are wrong in '{host}'"
