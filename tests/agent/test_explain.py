"""`vhost-agent explain` and ovs-appctl vhost/explain."""
from __future__ import annotations

from tests.agent.conftest import Contract
from tools.frontend import ethernet
from tools.host import AGENT, Host, wait_until

START = "start the guest: qemu-system-x86_64 ... $(vhost-agent qemu-args c0)"


def explained(contract: Contract, name: str = "c0") -> str:
    """Without line breaks."""
    return " ".join(contract.host.appctl("vhost/explain", name).split())


def test_explain_of_what_is_refused_and_of_what_cannot_be_used(contract: Contract) -> None:
    error = contract.attempt("v0", "type=vxlan")
    assert explained(contract, "v0") == f"v0 is not served: {error} type vxlan on bridge br0"
    contract.client("c0", "options:tx-retries-max=99")
    contract.host.vsctl("add-port", "br0", "p0", "--", "set", "Interface", "p0", "type=patch",
                     "options:peer=p1")
    assert f" - {contract.problems('c0')} " in explained(contract)
    assert contract.problems("p0") in explained(contract, "p0")
    contract.host.vsctl("add-br", "other")
    assert "bridge other has datapath_type system" in explained(contract, "other")


def test_explain_tells_drops_by_whose_fault_they_are(contract: Contract) -> None:
    guest = contract.attached("c0")
    guest.send([b"\xff" * 13] * 3)
    wait_until(lambda: "rx_malformed_drops 3 (bad descriptor)" in explained(contract), "drops")


def explain(host: Host, *words: str) -> tuple[int, str, str]:
    """Exit status and output of `vhost-agent explain`."""
    done = host.run(AGENT, "explain", *words)
    return done.returncode, done.stdout, done.stderr


def test_command_asks_the_agent(contract: Contract) -> None:
    contract.client("client0")
    control = f"{contract.host.directory}/vhost-agent.{contract.host.agents[-1].pid}.ctl"
    status, said, _ = explain(contract.host, "-t", control, "client0")
    assert status == 0
    assert said == contract.host.appctl("vhost/explain", "client0")
    assert explain(contract.host, "-t", control, "clent0") == (
        1, "", "vhost-agent: no port 'clent0' is in the database; did you mean client0?\n")
    status, _, error = explain(contract.host, "-t", control, "zzzz")
    assert (status, error) == (
        1, "vhost-agent: no port 'zzzz' is in the database: 'ovs-vsctl show' lists ports\n")


def test_command_asks_the_database_where_there_is_no_agent(served: Host) -> None:
    served.vsctl("add-port", "br0", "c0", "--", "set", "Interface", "c0",
                 "type=dpdkvhostuserclient", f"options:vhost-server-path={served.directory}/c0")
    served.vsctl("add-port", "br0", "v0", "--", "set", "Interface", "v0", "type=vxlan")
    served.stop_agent()
    status, said, error = explain(served, "c0")
    assert (status, said) == (1, f"c0 was down: there is no socket {served.directory}/c0, which "
                                 f"the guest's QEMU makes ({START})\n")
    assert error.startswith("vhost-agent: no agent is known as vhost-agent: ")
    assert error.endswith("; what follows is what the database has, and may be of the past\n")
    assert explain(served, "v0")[1].startswith("v0 was not served: could not open network device")
    assert explain(served, "x")[0:2] == (1, "")


def test_explain_tells_of_a_host_that_is_too_slow(contract: Contract) -> None:
    """A guest sends in one go more than waits for the thread that sends to the kernel."""
    contract.host.inside("ip", "link", "set", "br0", "up")
    guest = contract.attached("c0", queue_size=1024)
    frames = [ethernet("ff:ff:ff:ff:ff:ff", "02:00:00:00:00:0a")] * 1023

    def said() -> bool:
        guest.send(frames)
        return "(switch too busy)" in explained(contract, "br0")
    wait_until(said, "the queue was full")
    assert contract.fresh("br0")["tx_busy_drops"] > 0


def test_explain_repeats_what_of_a_device_does_not_fit(contract: Contract) -> None:
    contract.host.inside("ip", "link", "set", "br0", "up", "mtu", "2000")
    wait_until(lambda: contract.get("br0", "mtu") == 2000, "the kernel is heard")
    assert f" - {contract.problems('br0')} " in explained(contract, "br0")
