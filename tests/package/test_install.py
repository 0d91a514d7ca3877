"""apt installs and purges; make install and uninstall; hosts without systemd."""
from __future__ import annotations

import subprocess
from pathlib import Path

from tools.clean_machine import CleanMachine
from tools.host import wait_until

CHECKOUT = Path(__file__).parents[2]
OVS_CTL = "/usr/share/openvswitch/scripts/ovs-ctl"
IN_PLACE = ("nice -n -10 vhost-agent run --role vswitchd --as ovs-vswitchd --detach --monitor "
            "--pidfile --log-file")


def all_files(machine: CleanMachine) -> set[str]:
    return set(machine.run("find / -xdev -not -path '/proc/*' -not -path '/var/cache/*' "
                           "-not -path '/var/lib/apt/*' -not -path '/var/log/*' "
                           "-not -path '/var/lib/dpkg/*-old'").splitlines())


def test_purge_leaves_nothing(installed: CleanMachine, tmp_path: Path) -> None:
    installed.run("apt-get -qq purge -y ovs-vhost-agent")
    users = installed.run("cat /etc/passwd /etc/group")
    before = all_files(installed)
    installed.run(f"apt-get -qq install -y {tmp_path}/agent.deb")
    assert installed.run("cat /etc/passwd /etc/group") != users
    assert all_files(installed) - before
    installed.run("apt-get -qq purge -y ovs-vhost-agent")
    assert installed.run("cat /etc/passwd /etc/group") == users
    assert all_files(installed) - before == set()


def test_all_of_the_program_is_there(installed: CleanMachine) -> None:
    """Each module, with what it imports, and files that are there to be copied."""
    modules = [f"agent.{path.stem}" for path in (CHECKOUT / "agent").glob("[a-z]*.py")]
    assert "agent.doctor" in modules
    installed.run("cd /usr/lib/ovs-vhost-agent && python3 -B -c "
                  f"'import {', '.join(modules)}'")
    for file in ("schema", "packaging/grafana", "packaging/prometheus"):
        there = "lib/ovs-vhost-agent" if file == "schema" else "share/doc/ovs-vhost-agent/examples"
        for path in (CHECKOUT / file).glob("[a-z]*.*"):
            installed.run(f"test -s /usr/{there}/{path.parent.name}/{path.name}")


def test_it_is_compiled(installed: CleanMachine) -> None:
    """Its user may not write there: each start would compile all of it."""
    installed.run("ls /usr/lib/ovs-vhost-agent/agent/__pycache__/cli.*.pyc")


def test_librte_vhost_for_newer_cpus_is_used_while_it_matches(installed: CleanMachine) -> None:
    found = "ldd /usr/lib/ovs-vhost-agent/pmd_ext/vhost.*.so | grep librte_vhost"
    level = "/lib64/ld-linux-x86-64.so.2 --help | grep -q 'x86-64-v3 (supported'"
    if installed.attempt(level)[0] == 0:
        assert "/usr/lib/ovs-vhost-agent/" in installed.run(found)
    installed.run("echo another >/usr/lib/ovs-vhost-agent/pmd_ext/x86-64-v3/version; "
                  "dpkg-trigger --by-package=librte-vhost23 "
                  "/usr/lib/x86_64-linux-gnu/librte_vhost.so.23; dpkg --triggers-only -a")
    assert "/usr/lib/ovs-vhost-agent/" not in installed.run(found)


def test_manual_and_completion_are_there(installed: CleanMachine) -> None:
    assert "--role" in installed.run("zcat /usr/share/man/man1/vhost-agent-run.1.gz").replace(
        "\\-", "-")
    asked = ("source /usr/share/bash-completion/completions/vhost-agent; COMP_WORDS=(vhost-agent "
             "ru); COMP_CWORD=1; _vhost_agent_completion vhost-agent; echo ${COMPREPLY[@]}")
    assert installed.run(f"bash -c '{asked}'") == "run"


def test_in_place_of_ovs_vswitchd_with_ovs_ctl(installed: CleanMachine) -> None:
    """Without systemd: what docs/installation.md has for such hosts."""
    installed.run(f"{OVS_CTL} --no-ovs-vswitchd --system-id=random start")
    installed.run("ovs-vsctl --no-wait set Open_vSwitch . other_config:dpdk-init=true")
    installed.run(f"{IN_PLACE} 2>/dev/null")
    pid = installed.run("cat /run/openvswitch/ovs-vswitchd.pid")
    installed.run("ovs-vsctl add-br br0 -- set bridge br0 datapath_type=netdev "
                  "-- add-port br0 vm1 -- set Interface vm1 type=dpdkvhostuserclient "
                  "options:vhost-server-path=/tmp/vm1")
    assert "vm1" in installed.run("ovs-appctl dpif/show")
    assert f"ovs-vswitchd is running with pid {pid}" in installed.run(f"{OVS_CTL} status")
    # The database alone is started anew; the agent goes on.
    installed.run(f"{OVS_CTL} --no-ovs-vswitchd --system-id=random restart")
    installed.run("ovs-vsctl --timeout=20 add-port br0 vm2 -- set Interface vm2 "
                  "type=dpdkvhostuserclient options:vhost-server-path=/tmp/vm2")
    assert installed.run("cat /run/openvswitch/ovs-vswitchd.pid") == pid
    # All of it: ovs-ctl ends the agent, and starts what it knows, ovs-vswitchd itself.
    installed.attempt(f"{OVS_CTL} --system-id=random restart")
    wait_until(lambda: installed.attempt("ovs-appctl version")[0] == 0, "ovs-vswitchd answers")
    assert "ovs-vswitchd (Open vSwitch) 3.1" in installed.run("ovs-appctl version")
    assert installed.attempt(f"kill -0 {pid}")[0] != 0
    # Back to the agent, and stopped by ovs-ctl.
    installed.run("ovs-appctl exit && while [ -e /run/openvswitch/ovs-vswitchd.pid ]; "
                  "do sleep 0.1; done")
    installed.run(f"{IN_PLACE} 2>/dev/null")
    installed.run(f"{OVS_CTL} stop")
    assert installed.run("ls /run/openvswitch") == ""


def test_make_install_and_uninstall(tmp_path: Path) -> None:
    for target, left in (("install", True), ("uninstall", False)):
        subprocess.run(["make", "-C", str(CHECKOUT), target, f"DESTDIR={tmp_path}",
                        "PREFIX=/opt/a"], check=True, capture_output=True, timeout=600)
        files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
        assert ("opt/a/bin/vhost-agent" in files) == left
        assert any("agent/__pycache__/cli." in file for file in files) == left    # starts quickly
        assert ("etc/default/vhost-agent" in files) == left
    assert files == set()
