"""Which librte_vhost a process has."""
from __future__ import annotations

from pathlib import Path

import pmd_ext
from tests.ext.conftest import Switch

LEVEL = Path(pmd_ext.__file__).parent / "lib/glibc-hwcaps/x86-64-v3"
CPU_FLAGS = {"avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}    # of that level, beside older ones


def test_the_library_compiled_for_this_kind_of_cpu_is_used(switch: Switch) -> None:
    """Where there is none, or the CPU is older, it is the distribution's."""
    flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines()
                 if line.startswith("flags")).split()
    loaded = {line.split(maxsplit=5)[5] for line in Path("/proc/self/maps").read_text().splitlines()
              if "librte_vhost.so" in line}
    ours = {str(path) for path in LEVEL.glob("librte_vhost.so.*")}
    assert len(loaded) == 1
    assert (loaded == ours) == (bool(ours) and {*flags} >= CPU_FLAGS)
