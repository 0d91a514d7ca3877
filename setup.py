"""Builds the Cython extension against the system's DPDK; everything else is in pyproject.toml."""
import os
import shlex
import subprocess
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DIRECTIVES = {
    "language_level": 3, "boundscheck": False, "wraparound": False, "cdivision": True,
    "initializedcheck": False, "embedsignature": True,
}


def pkg_config(option: str) -> list[str]:
    try:
        output = subprocess.run(["pkg-config", option, "libdpdk"], check=True, text=True,
                                capture_output=True).stdout
    except FileNotFoundError:
        sys.exit("setup.py: pkg-config is missing: install it (Debian: apt install pkg-config).")
    except subprocess.CalledProcessError:
        sys.exit("setup.py: DPDK's development files are missing: install them "
                 "(Debian: apt install libdpdk-dev) or point PKG_CONFIG_PATH to your own build.")
    return shlex.split(output)


def sources() -> list[Path]:
    """The data plane; in a checkout the load generator of the benchmarks, too."""
    tools = Path("tools").glob("*.pyx") if "editable_wheel" in sys.argv else ()
    return sorted([*Path("pmd_ext").glob("*.pyx"), *tools])


def extensions() -> list[Extension]:
    cflags, libs = pkg_config("--cflags"), pkg_config("--libs")
    # of a build apart from the usual one, for a sanitizer (tools/sanitize.py)
    flags = shlex.split(os.environ.get("EXTENSION_FLAGS", ""))
    declarations = [str(p) for p in [*Path("pmd_ext").rglob("*.pxd"), Path("pmd_ext/shim.h")]]
    return [
        Extension(
            f"{source.parent}.{source.stem}", [str(source)], depends=declarations,
            include_dirs=["pmd_ext"],
            extra_compile_args=[*cflags, "-O3", "-DALLOW_EXPERIMENTAL_API", "-Wall", "-Wextra",
                                "-Wno-unused-parameter", *flags],
            # a librte_vhost made for this kind of CPU (tools/build-vhost), where there is one
            extra_link_args=[*libs, *flags, "-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib"],
        )
        for source in sources()
    ]


setup(ext_modules=cythonize(extensions(), compiler_directives=DIRECTIVES, nthreads=2,
                            build_dir="build/cython"))
