"""Shared objects, read with pyelftools: nothing of them is run."""
from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from agent.dpdk_values import Driver, Library

DRIVER_MARK = b"PMD_INFO_STRING= "
PLUGINS_MARK = b"DPDK_PLUGIN_PATH="
VDUSE_MARK = b"/dev/vduse/"
T = TypeVar("T")


class ElfError(Exception):
    """A file is no shared object that can be read; the text says why."""


class Elf:
    """An open file, for use in a with statement. Raises ElfError, from every method."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
            self._elf: Any = _guarded(lambda: ELFFile(self._file))
        except OSError as e:
            raise ElfError(f"{path}: {e.strerror}") from e
        except ElfError as e:
            self._file.close()
            raise ElfError(f"{path}: {e}") from e

    def __enter__(self) -> Elf:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def library(self) -> Library:
        def read() -> Library:
            dynamic = self._elf.get_section_by_name(".dynamic")
            tags = list(dynamic.iter_tags()) if dynamic is not None else []
            symbols = list(self._symbols())
            return Library(
                str(self.path),
                next((t.soname for t in tags if t.entry.d_tag == "DT_SONAME"), ""),
                tuple(t.needed for t in tags if t.entry.d_tag == "DT_NEEDED"),
                {name: version for name, version, defined in symbols if defined},
                frozenset(name for name, _, defined in symbols if not defined),
                VDUSE_MARK in self._constants())
        return _guarded(read)

    def _symbols(self) -> Iterator[tuple[str, str, bool]]:
        """(name, version, whether it is defined here) of each dynamic symbol. Only what is has a
        version."""
        table = self._elf.get_section_by_name(".dynsym")
        if table is None:
            return
        names = {}
        if (versions := self._elf.get_section_by_name(".gnu.version_d")) is not None:
            names = {verdef["vd_ndx"]: next(words).name for verdef, words
                     in versions.iter_versions()}
        which = self._elf.get_section_by_name(".gnu.version")
        for i, symbol in enumerate(table.iter_symbols()):
            if symbol.name:
                defined = symbol["st_shndx"] != "SHN_UNDEF"
                # a look at it takes as long as all else of a symbol
                index = which.get_symbol(i)["ndx"] if defined and names and which else 0
                version = names.get(index & 0x7fff, "") if isinstance(index, int) else ""
                yield symbol.name, version, defined

    def _constants(self) -> bytes:
        section = self._elf.get_section_by_name(".rodata")
        return bytes(section.data()) if section is not None else b""

    def drivers(self) -> list[Driver]:
        """Those that say so (DPDK: buildtools/pmdinfogen.py writes it, usertools/dpdk-pmdinfo.py
        reads it); what cannot be read of them is left out."""
        return _guarded(lambda: [
            driver for text in texts(self._constants(), DRIVER_MARK)
            if (driver := described(text, self.path.name)) is not None])

    def plugin_directory(self) -> str | None:
        """Where a librte_eal looks for drivers."""
        return _guarded(lambda: next(texts(self._constants(), PLUGINS_MARK), None))


def texts(data: bytes, mark: bytes) -> Iterator[str]:
    """The strings that begin with a mark, without it."""
    at = data.find(mark)
    while at >= 0:
        at += len(mark)
        end = data.find(b"\0", at)
        yield data[at:end if end >= 0 else len(data)].decode(errors="replace")
        at = data.find(mark, at)


def described(text: str, file: str) -> Driver | None:
    """The driver that the JSON of a PMD_INFO_STRING is about."""
    try:
        about = json.loads(text)
        ids = []
        for words in about.get("pci_ids", []):
            vendor, device, of_vendor, of_device = map(int, words)
            ids.append((vendor, device, of_vendor, of_device))
        return Driver(str(about["name"]), file, str(about.get("params", "")).strip(),
                      str(about.get("kmod", "")).strip(), tuple(ids))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _guarded(read: Callable[[], T]) -> T:
    """What 'read' returns; pyelftools trips over broken files in many ways."""
    try:
        return read()
    except (ELFError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError,
            AssertionError, UnicodeError) as e:
        raise ElfError(f"not a whole ELF file ({e or type(e).__name__})") from e
