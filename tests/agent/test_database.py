"""The database goes away, comes back changed, is somebody else's: the data plane forwards on."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

from tests.agent.test_bad_input import A, B, Pair
from tools.frontend import ethernet
from tools.guest import is_listening
from tools.host import SCHEMA, Host, wait_until


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


def test_agent_that_cannot_write_sleeps(served: Host) -> None:
    """Without the database there is something to write, and nothing to do but wait."""
    def main_thread_s() -> float:
        pid = served.agents[-1].pid
        fields = Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    pair = Pair(served)
    served.kill_ovsdb()
    pair.guests[1].stop()
    wait_until(lambda: "has been removed" in served.output(), "the agent has seen it")
    before_s, start_s = main_thread_s(), time.monotonic()
    wait_until(lambda: time.monotonic() - start_s > 3, "three seconds are over")
    assert main_thread_s() - before_s < 1
    served.start_ovsdb()
    wait_until(lambda: not served.connected("good1"), "it is written now")
    pair.close()


def test_what_somebody_else_writes_into_our_columns_is_written_over(served: Host) -> None:
    served.vsctl("add-port", "br0", "s0", "--", "set", "Interface", "s0", "type=dpdkvhostuser")
    served.vsctl("--no-wait", "set", "Interface", "s0", "ofport=9", "--", "set", "Interface", "s0",
                 "error=bogus", "mtu=7", "--", "clear", "Open_vSwitch", ".", "iface_types")
    wait_until(lambda: served.interface("s0", "ofport") == 1, "the number is ours at once")

    def looked_after() -> bool:
        """A part of the rows is, each statistics interval."""
        served.look()
        return (served.interface("s0", "error") is None
                and served.get("Open_vSwitch", ".", "iface_types") is not None)
    wait_until(looked_after, "each row has its turn")
    assert served.interface("s0", "mtu") == 0


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


def test_stolen_lock_stops_changes_and_no_packets(served: Host) -> None:
    pair = Pair(served)
    thief = subprocess.Popen(["ovsdb-client", "steal", f"unix:{served.directory}/db.sock",
                              "ovs_vswitchd"], env=served.env, stdout=subprocess.DEVNULL)
    wait_until(lambda: "disabling this process" in served.output(), "the agent says so")
    pair.exchange()
    served.vsctl("--no-wait", "add-port", "br0", "s0", "--", "set", "Interface", "s0",
                 "type=dpdkvhostuser")
    pair.guests[1].stop()                           # a guest may come and go meanwhile
    pair.guests[1].connect()
    wait_until(lambda: retry_exchange(pair), "traffic goes on without the lock", 10)
    assert served.interface("s0", "ofport") is None
    assert not (served.directory / "s0").exists()
    served.vsctl("--no-wait", "set", "Interface", "good0", "link_state=down", "mtu=68",
                 "status:status=nonsense")          # as another daemon may leave them
    thief.kill()
    thief.wait()
    wait_until(lambda: served.interface("s0", "ofport") == 3, "the new port is served")
    wait_until(lambda: served.connected("good0"), "columns are true again")
    assert served.interface("good0", "mtu") == 1500
    assert served.interface("good0", "status")["status"] == "connected"
    assert is_listening(served.directory / "s0")
    pair.exchange()
    pair.close()


def test_database_replaced_by_an_empty_one(served: Host) -> None:
    """Nothing is deleted while nothing is known; then the new database is what counts."""
    pair = Pair(served)
    served.kill_ovsdb()
    (served.directory / "conf.db").unlink()
    served.check("ovsdb-tool", "create", f"{served.directory}/conf.db", str(SCHEMA))
    served.start_ovsdb()                            # no root row: no database of ours yet
    pair.exchange()
    served.vsctl("--no-wait", "init")
    served.enable_dpdk()
    served.vsctl("add-br", "br1", "--", "set", "Bridge", "br1", "datapath_type=netdev")
    served.vsctl("add-port", "br1", "s0", "--", "set", "Interface", "s0", "type=dpdkvhostuser")
    assert served.interface("s0", "ofport") == 1
    wait_until(lambda: "good" not in served.appctl("dpif/show"), "the old ports are gone")
    taken = pair.guests[0].sent_back()
    pair.guests[0].send([ethernet(B, A)])
    assert (pair.guests[0].sent_back(), pair.guests[1].recv()) == (taken, [])
    pair.close()


def test_transaction_cut_off_by_the_servers_end_is_made_up_for(served: Host) -> None:
    for n in range(5):
        served.vsctl("--no-wait", "add-port", "br0", f"s{n}", "--", "set", "Interface", f"s{n}",
                     "type=dpdkvhostuser")
        served.kill_ovsdb()
        served.start_ovsdb()
    wait_until(lambda: sorted(served.interface(f"s{n}", "ofport") or 0 for n in range(5))
               == [1, 2, 3, 4, 5], "all are served and say so")
    assert served.get("Open_vSwitch", ".", "cur_cfg") == served.get("Open_vSwitch", ".", "next_cfg")


def test_refused_row_does_not_keep_others_from_being_written(host: Host) -> None:
    """A server whose schema takes no ofport above 5."""
    schema = json.loads(Path(SCHEMA).read_text(encoding="utf-8"))
    schema["tables"]["Interface"]["columns"]["ofport"]["type"]["key"] = {
        "type": "integer", "minInteger": -1, "maxInteger": 5}
    schema["tables"]["Interface"]["columns"]["ofport_request"]["type"]["key"] = "integer"
    host.kill_ovsdb()
    (host.directory / "conf.db").unlink()
    (host.directory / "narrow.ovsschema").write_text(json.dumps(schema))
    host.start_ovsdb(schema=host.directory / "narrow.ovsschema")
    host.enable_dpdk()
    host.start_agent()
    words = ["add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev"]
    for n in (1, 2, 9):
        words += ["--", "add-port", "br0", f"s{n}", "--", "set", "Interface", f"s{n}",
                  "type=dpdkvhostuser", f"ofport_request={n}"]
    host.vsctl("--no-wait", *words)
    wait_until(lambda: [host.interface(f"s{n}", "ofport") for n in (1, 2)] == [1, 2],
               "the good rows are written")
    assert host.interface("s9", "ofport") is None
    assert is_listening(host.directory / "s9")
    host.vsctl("--no-wait", "set", "Interface", "s9", "ofport_request=3")
    wait_until(lambda: host.interface("s9", "ofport") == 3, "the mended row is written")


def test_agent_killed_leaves_sockets_that_the_next_takes_over(served: Host) -> None:
    served.vsctl("add-port", "br0", "s0", "--", "set", "Interface", "s0", "type=dpdkvhostuser")
    served.kill_agent()
    assert (served.directory / "s0").is_socket()
    served.start_agent()
    served.vsctl("set", "Open_vSwitch", ".", "external_ids:x=1")
    assert served.interface("s0", "error") is None
    assert is_listening(served.directory / "s0")
