"""A clean Debian 12: with systemd, without anything of ours, and with no network needed to install
what the package depends on."""
from __future__ import annotations

from tools.debian_root import DebianRoot

DEBIAN12 = DebianRoot(
    "debian12", "bookworm", "systemd systemd-sysv udev dbus kmod procps iproute2", "40 s, 500 MB",
    # What the package depends on and recommends, and what a switch is looked at with.
    downloads="openvswitch-switch python3-click python3-rich python3-prometheus-client "
              "python3-pyelftools librte-vhost23 librte-ethdev23 librte-meter23 librte-rcu23 "
              "librte-mempool-ring23 librte-bus-vdev23 librte-bus-pci23 librte-net-af-packet23 "
              "adduser logrotate man-db")
