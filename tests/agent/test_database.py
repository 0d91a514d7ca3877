"""The database goes away, comes back changed, is somebody else's: the data plane forwards on."""
from __future__ import annotations

import signal
import subprocess

from tests.agent.test_bad_input import Pair
from tools.guest import is_listening
from tools.host import Host, wait_until


def test_database_dies_and_comes_back(served: Host) -> None:
    pair = Pair(served)
    served.kill_ovsdb()
    pair.exchange()
    pair.guests[1].stop()                           # a guest may come and go meanwhile
    pair.guests[1].connect()
    wait_until(lambda: retry_exchange(pair), "traffic resumes without the database", 10)
    served.start_ovsdb()
    # ephemeral columns went with the server; they come back without any change by anybody
    wait_until(lambda: served.connected("good0"), "link_state is up again")
    pair.exchange()
    served.vsctl("del-port", "good0")
    wait_until(lambda: served.interface("good1", "ofport") == 2, "the rest is as it was")
    pair.close()


def retry_exchange(pair: Pair) -> bool:
    try:
        pair.exchange()
    except (TimeoutError, AssertionError):
        return False
    return True


def test_change_made_while_the_agent_was_away_is_found(served: Host) -> None:
    served.vsctl("add-port", "br0", "old", "--", "set", "Interface", "old", "type=dpdkvhostuser")
    served.stop_agent()
    assert not (served.directory / "old").exists()
    served.vsctl("--no-wait", "del-port", "old", "--", "add-port", "br0", "new", "--", "set",
                 "Interface", "new", "type=dpdkvhostuser")
    served.start_agent()
    wait_until(lambda: (served.directory / "new").is_socket(), "the new port is served")
    assert not (served.directory / "old").exists()


def test_database_without_a_root_row_deletes_nothing(served: Host) -> None:
    pair = Pair(served)
    served.check("ovsdb-client", "transact", f"unix:{served.directory}/db.sock",
                 '["Open_vSwitch", {"op": "delete", "table": "Open_vSwitch", "where": []}]')
    served.appctl("version")
    pair.exchange()
    pair.close()


def test_second_agent_waits_says_so_and_takes_over(served: Host) -> None:
    pair = Pair(served)
    first = served.agents[-1]
    second = served.start_agent()
    wait_until(lambda: f"disabling this process (pid {second.pid})" in served.output(),
               "the second agent says that it waits")
    pair.exchange()
    first.send_signal(signal.SIGTERM)
    assert first.wait(15) == 0
    for guest in pair.guests:
        guest.connect()
    wait_until(lambda: retry_exchange(pair), "the second agent serves", 20)
    pair.close()


def test_stolen_lock_ends_the_service_until_it_is_back(served: Host) -> None:
    served.vsctl("add-port", "br0", "s0", "--", "set", "Interface", "s0", "type=dpdkvhostuser")
    thief = subprocess.Popen(["ovsdb-client", "steal", f"unix:{served.directory}/db.sock",
                              "ovs_vswitchd"], env=served.env, stdout=subprocess.DEVNULL)
    wait_until(lambda: not (served.directory / "s0").exists(), "the port is let go")
    thief.kill()
    thief.wait()
    wait_until(lambda: is_listening(served.directory / "s0"), "the port is served again")


def test_agent_killed_leaves_sockets_that_the_next_takes_over(served: Host) -> None:
    served.vsctl("add-port", "br0", "s0", "--", "set", "Interface", "s0", "type=dpdkvhostuser")
    served.kill_agent()
    assert (served.directory / "s0").is_socket()
    served.start_agent()
    served.vsctl("set", "Open_vSwitch", ".", "external_ids:x=1")
    assert served.interface("s0", "error") is None
    assert is_listening(served.directory / "s0")
