"""`make run`: the agent on a database of its own, in the foreground, and what to type next."""
from __future__ import annotations

import os
import sys
from pathlib import Path

from agent.settings import default_standalone_dir


def main() -> None:
    directory = default_standalone_dir(os.environ)
    db = f"--db=unix:{directory}/db.sock"
    print(f"""In another terminal (Ctrl-C here ends the agent):

  ovs-vsctl {db} add-br br0 -- set Bridge br0 datapath_type=netdev
  ovs-vsctl {db} add-port br0 dpdkvhostclient0 -- set Interface dpdkvhostclient0 \\
      type=dpdkvhostuserclient options:vhost-server-path=/tmp/dpdkvhostclient0
  ovs-appctl -t {directory}/vhost-agent.ctl fdb/show br0
""", flush=True)
    agent = str(Path(sys.executable).parent / "vhost-agent")
    os.execv(agent, [agent, "run", "--standalone", str(directory),
                     f"--unixctl={directory}/vhost-agent.ctl"])


if __name__ == "__main__":
    main()
