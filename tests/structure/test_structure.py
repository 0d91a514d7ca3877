"""The rules of the house, as tests over the source: who may know whom, and what stands where."""
from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tools import docs

ROOT = Path(__file__).parents[2]
ROOMS = ("agent", "pmd_ext", "schema", "tools", "tests")

OVS_IMPORTERS = {"log", "ovsdb", "main", "control", "daemon", "dpdk", "signals", "rpc",
                 "db_schema", "jsonrpc", "ask", "read_database", "transaction", "starting",
                 "monitor"}
PURE = ("model", "actions", "crossing", "stale_socket", "options", "hostconfig", "pmdconfig",
        "validate", "membership", "limits", "policing", "mirror_model", "mirroring", "schedule",
        "load", "balance", "placing", "plan", "ofport", "ifindex", "report", "publish", "rows",
        "loglines", "eal_args", "machine", "settings", "json_stream", "remotes", "command",
        "pmd_show", "coverage", "dpdk_log", "refusal", "vhost_device", "patch_device",
        "dpif_show", "pcapng", "fdb", "report_host", "host_device", "host_model", "eth_device",
        "report_eth", "eth_values", "mcast", "tso", "guest_nic", "qemu_args",
        "libvirt_xml", "refused", "role", "standing", "row_columns", "linking", "access",
        "accessconfig", "socket_access", "vduse", "amounts", "picture", "show", "metrics", "table",
        "rates", "sorts", "top", "shell", "values_json", "rehearsal", "plan_words",
        "reason_model", "reason", "front_end_reason", "explain", "virtio", "socket_facts",
        "finding", "guest_log", "dpdk_values", "host_values", "database_values", "select_rows",
        "reach", "check_cpus", "check_daemons", "check_database", "check_dpdk", "check_kernel",
        "check_limits", "check_memory", "check_programs", "check_sockets", "doctor_facts",
        "doctor_text", "notify", "sharing")
DATA_PLANE = ("transmit", "iotlb", "rings", "flow", "classify", "pipeline", "poll", "idle",
              "pmd", "vhost", "mactable", "state", "fence", "arrivals", "vlan", "patch", "meters",
              "mirror", "capture", "macflaps", "maclearn", "macwalk", "host", "host_io",
              "host_queue", "ethdev", "groups", "snoop", "offload", "handshake", "sight")
VAGUE_NAMES = {"utils", "util", "common", "helper", "helpers", "manager", "managers"}
MAX_LINES = 400
LONGER: set[str] = set()        # files that may be, each with the reason


def sources(*suffixes: str, rooms: tuple[str, ...] = ROOMS) -> Iterator[Path]:
    for room in rooms:
        yield from sorted(p for p in (ROOT / room).rglob("*") if p.suffix in suffixes)


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code(path: Path) -> str:
    """Cython source without comments, docstrings and verbatim C."""
    text = re.sub(r'""".*?"""', '""', path.read_text(), flags=re.DOTALL)
    return re.sub(r"#.*", "", text)


@cache
def imports(path: Path) -> frozenset[str]:
    """Modules that a Python or Cython file names in an import, wherever it stands."""
    if path.suffix in (".pyx", ".pxd"):
        found = re.findall(r"^\s*(?:from\s+([\w.]+)\s+c?import|c?import\s+([\w.]+))", code(path),
                           re.M)
        return frozenset(a or b for a, b in found)
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # 'from agent import log' names agent.log too
            module = "." * node.level + (node.module or "")
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


@cache
def reaches(module: str) -> frozenset[str]:
    """Modules of agent/ that importing agent.<module> imports."""
    seen: set[str] = set()
    new = {module}
    while new:
        seen |= new
        named = {name.split(".")[1] for m in new for name in imports(ROOT / f"agent/{m}.py")
                 if name.startswith("agent.")}
        new = {m for m in named if (ROOT / f"agent/{m}.py").exists()} - seen
    return frozenset(seen)


# --- who may know whom ----------------------------------------------------------------------------

def test_one_door_between_the_control_plane_and_the_data_plane() -> None:
    importers = [shown(p) for p in sources(".py", rooms=("agent", "schema"))
                 if "pmd_ext" in packages(p)]
    assert importers == ["agent/dpdk.py", "agent/pmd_datapath.py"]      # the first starts it


def test_data_plane_knows_no_control_plane() -> None:
    for path in sources(".py", ".pyx", ".pxd", ".pyi", rooms=("pmd_ext",)):
        assert packages(path).isdisjoint({"agent", "schema", "ovs"}), shown(path)


def test_few_modules_know_python_ovs() -> None:
    importers = {p.stem for p in sources(".py", rooms=("agent", "schema")) if "ovs" in packages(p)}
    assert importers == OVS_IMPORTERS


@pytest.mark.parametrize("module", PURE)
def test_pure_module_reaches_neither_ovs_nor_dpdk(module: str) -> None:
    for reached in reaches(module):
        assert packages(ROOT / f"agent/{reached}.py").isdisjoint({"ovs", "pmd_ext"}), reached


def test_installed_code_needs_neither_tools_nor_tests_and_names_modules_in_full() -> None:
    for path in sources(".py", rooms=("agent", "pmd_ext", "schema")):
        assert packages(path).isdisjoint({"tools", "tests", ""}), shown(path)


def test_tools_need_no_tests() -> None:
    for path in sources(".py", rooms=("tools",)):
        assert "tests" not in packages(path), shown(path)


# --- the data plane -------------------------------------------------------------------------------

def functions(path: Path) -> dict[str, str]:
    """{name: what follows the parameters} of the cdef functions that a file defines or declares."""
    text, found = code(path), {}
    for match in re.finditer(r"^[ \t]*cp?def [\w *\[\]]*?(\w+)\(", text, re.M):
        depth, at = 1, match.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        found[match[1]] = text[at:].partition("\n")[0].strip(" :")
    return found


@pytest.mark.parametrize("module", DATA_PLANE)
def test_data_plane_runs_without_the_gil_and_raises_nothing(module: str) -> None:
    for path in (ROOT / f"pmd_ext/{module}.pyx", ROOT / f"pmd_ext/{module}.pxd"):
        found = functions(path)
        assert found, shown(path)
        assert {n: tail for n, tail in found.items() if tail != "noexcept nogil"} == {}
        assert re.findall(r"^\s*(?:def|cpdef|class|cdef class)\b.*", code(path), re.M) == []


def test_nothing_takes_the_gil_and_modules_are_modules_not_included_text() -> None:
    for path in sources(".pyx", ".pxd", ".pxi", ".h", rooms=("pmd_ext",)):
        assert not re.search(r"\bwith\s+gil\b|PyGILState", code(path)), shown(path)
        assert not re.search(r"^\s*include\b", code(path), re.M), shown(path)


def test_dpdk_declarations_hold_no_code() -> None:
    heads = r"(cdef extern from \S+ nogil|((cdef|ctypedef) )?(packed )?(struct|enum|union)\b.*):"
    for path in sources(".pxd", rooms=("pmd_ext/dpdk",)):
        lines = [line.strip() for line in code(path).splitlines()]
        blocks = [line for line in lines if line.endswith(":")]
        assert [line for line in blocks if not re.fullmatch(heads, line)] == [], shown(path)
        assert '"""' not in path.read_text(), shown(path)
        assert not re.search(r"\b(inline|def|class|return)\b", code(path)), shown(path)


# --- the typed contract of the extension ----------------------------------------------------------

def parameters(text: str) -> list[str]:
    """Names in a parameter list: 'self, int index, *, tries=3' -> self, index, tries."""
    return [re.split(r"[:=]", part)[0].split()[-1] for part in text.split(",")
            if part.strip() not in ("", "*")]


@pytest.mark.parametrize(("name", "module"), [
    ("Runtime", "runtime"), ("Ports", "ports"), ("Bridges", "bridges")])
def test_stub_names_exactly_what_the_classes_have(name: str, module: str) -> None:
    body = code(ROOT / f"pmd_ext/{module}.pyx").partition(f"\ncdef class {name}:")[2]
    body = re.split(r"\n(?=\S)", body)[0]
    methods = {name: parameters(text)
               for name, text in re.findall(r"^    def (\w+)\(([^)]*)\)", body, re.M)
               if name != "__cinit__"}
    fields = set(re.findall(r"^    cdef (?:readonly|public) .*?(\w+)\s*$", body, re.M))
    stub = ast.parse((ROOT / "pmd_ext/runtime.pyi").read_text())
    (found,) = (n for n in stub.body if isinstance(n, ast.ClassDef) and n.name == name)
    assert {n.name: [a.arg for a in n.args.args + n.args.kwonlyargs] for n in found.body
            if isinstance(n, ast.FunctionDef)} == methods
    assert {ast.unparse(n.target) for n in found.body if isinstance(n, ast.AnnAssign)} == fields


# --- files, names, words --------------------------------------------------------------------------

def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [shown(p) for p in sources(".py", ".pyx", ".pxd") if p.stem in VAGUE_NAMES] == []


def test_files_are_short() -> None:
    long = {shown(p) for p in sources(".py", ".pyx", ".pxd")
            if len(p.read_text().splitlines()) > MAX_LINES}
    assert long == LONGER


def test_tests_wait_for_conditions_and_do_not_sleep() -> None:
    for path in sources(".py", rooms=("tests",)):
        if "sleep" in (text := path.read_text()):
            named = {ast.unparse(n) for n in ast.walk(ast.parse(text))
                     if isinstance(n, ast.Attribute)}
            assert "time.sleep" not in named | imports(path), shown(path)


def test_makefile_targets_are_files_or_phony_and_explain_themselves() -> None:
    text = (ROOT / "Makefile").read_text()
    rules = dict(re.findall(r"^([^\s:#=]+):(?!=)(.*)", text, re.M))
    phony = {name for names in re.findall(r"^\.PHONY:(.*)", text, re.M) for name in names.split()}
    targets = rules.keys() - {".PHONY"}
    assert {name for name in targets if "/" not in name} == phony
    assert [name for name in targets
            if re.fullmatch("[a-z]+", name) and "  ## " not in rules[name]] == []
    programs = {name.replace(".", "/") + ".py" for name in re.findall(r"-m (tools\.\w+)", text)}
    assert [name for name in programs if not (ROOT / name).exists()] == []


def test_readme_names_files_that_exist() -> None:
    words = re.findall(r"`(\w[\w./*-]*)`", (ROOT / "README.md").read_text())
    paths = [w for w in words if w.partition("/")[0] in {p.name for p in ROOT.iterdir()}
             or re.fullmatch(r"[\w/]+/\w+\.(md|py|pyx|pyi|pxd|h|toml)", w)]
    assert [w for w in paths if not list(ROOT.glob(w.rstrip("/")))] == []


@pytest.mark.parametrize("name", docs.PAGES)
def test_pages_made_from_the_contract_are_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == docs.PAGES[name](), "run make docs"
