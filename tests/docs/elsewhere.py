"""Commands of the pages that cannot be typed in a test's place, and who runs them instead."""
from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Elsewhere:
    """Commands that a regular expression fits whole, and the file, with the test in it if it is a
    test's, that runs them."""
    form: str
    where: str

    def fits(self, command: str) -> bool:
        return re.fullmatch(self.form, command) is not None


BENCH = "tests/functional/test_bench.py::"

ELSEWHERE = (
    Elsewhere(r"apt-get install -y git make", ".ci/run"),
    Elsewhere(r"git clone URL ovs-vhost-agent && cd ovs-vhost-agent", ".ci/run"),
    Elsewhere(r"make (setup|test|test-guests)", ".ci/run"),
    Elsewhere(r"make deb", ".ci/run"),          # of `make test-package`
    Elsewhere(r"apt install ./build/.*|apt purge ovs-vhost-agent",
              "tests/package/test_install.py::test_purge_leaves_nothing"),
    Elsewhere(r"make (un)?install",
              "tests/package/test_install.py::test_make_install_and_uninstall"),
    Elsewhere(r"systemctl status vhost-agent|.* >/etc/sysctl.d/.*|sysctl -p .*"
              r"|systemctl restart vhost-agent",
              "tests/package/test_systemd.py::test_whole_life_of_the_service"),
    Elsewhere(r"systemctl (disable --now|mask) ovs-vswitchd|mkdir -p /etc/systemd/.*"
              r"|cp /usr/share/doc/ovs-vhost-agent/examples/in-place.conf .*"
              r"|systemctl daemon-reload && systemctl restart vhost-agent",
              "tests/package/test_systemd.py::takes_the_place_of_ovs_vswitchd"),
    Elsewhere(r"make demo", "tests/functional/test_demo.py::test_demo_works_and_leaves_nothing"),
    Elsewhere(r"make bench(-quick)?( ARGS=.*)?",
              BENCH + "test_packets_a_second_are_measured_beside_testpmd_and_compared"),
    Elsewhere(r"make bench-control( ARGS=.*)?",
              BENCH + "test_control_plane_is_measured_in_every_case"),
    Elsewhere(r"make bench-idle( ARGS=.*)?",
              BENCH + "test_pmd_threads_at_rest_are_measured_in_every_case"),
    # what it makes of perf's samples; perf itself is not on every machine
    Elsewhere(r"make profile", "tests/unit/test_profile.py"),
    Elsewhere(r"qemu-system-x86_64 -accel kvm .* \$\(vhost-agent qemu-args \w+\) &",
              "tests/guests/test_qemu.py::test_client_ports"),
    Elsewhere(r"ping -c 3 -i 0.2 10.30.0.2", "tests/guests/test_qemu.py::test_client_ports"),
    Elsewhere(r"qemu-system-x86_64 -accel kvm .* -smp 2 .* \$\(vhost-agent qemu-args \w+\)",
              "tests/guests/test_qemu.py::test_qemu_before_the_port"),
    Elsewhere(r"ethtool -L eth0 combined 1",
              "tests/guests/test_multiqueue_guests.py::test_queues_follow_the_device"),
    Elsewhere(r"virsh attach-device demovm nic.xml",
              "tests/guests/test_libvirt.py::test_a_device_of_a_running_domain"),
    Elsewhere(r"virsh create demovm.xml|ps -o user:20,comm -C qemu-system-x86_64",
              "tests/guests/test_libvirt.py::test_sample_domains_ping"),
    Elsewhere(r"qemu-system-x86_64 -machine q35 -device intel-iommu.*|ping -n -c 10 .*"
              r"|ovs-vsctl get Interface demo0 status:features .*",
              "tests/guests/test_iommu_guests.py::test_strict_pings"),
    Elsewhere(r"ovs-vsctl get Interface dpdkvhostclient0 statistics:ovs_tx_retries .*",
              "tests/guests/test_testpmd_guest.py::test_no_retries"),
    Elsewhere(r"modprobe -a vduse .*|vdpa dev .*|ovs-vsctl (add-port br0|get Interface) vduse0 .*",
              "tests/guests/test_vduse.py::test_default_is_one_pair"),
    Elsewhere(r"ovs-vsctl add-port br0 vduse1 .*",
              "tests/guests/test_vduse.py::test_kernel_without_control_queues_is_said"),
    Elsewhere(r"lspci .*|sysctl vm.nr_hugepages=1024|mkdir -p /dev/hugepages|mount -t hugetlbfs .*"
              r"|modprobe uio_pci_generic|dpdk-devbind.py -.*|dpdk-testpmd -l 0-1 .*",
              "tests/guests/test_testpmd_guest.py::test_testpmd_forwards_in_a_guest"),
    Elsewhere(r"ip link show eth0", "tests/guests/test_jumbo.py::test_jumbo"),
    Elsewhere(r".venv/bin/vhost-agent capture PORT \| tcpdump -n -r -",
              "tests/agent/test_capture_command.py::test_live_pipe_shows_packets_as_they_come"),
    Elsewhere(r"vhost-agent capture dpdkvhostclient0 \| wireshark -k -i -",
              "tests/agent/test_capture_command.py::test_live_pipe_shows_packets_as_they_come"),
    # hardware: a test's physical ports are virtual ones of DPDK
    Elsewhere(r"dpdk-devbind.py --bind=vfio-pci .*|ovs-vsctl add-port br0 up0 .*",
              "tests/agent/test_ethdev_ports.py"),
    # figures of a busy switch
    Elsewhere(r"vhost-agent show",
              "tests/agent/test_live.py::test_show_has_problems_first_and_appctl_says_the_same"),
    Elsewhere(r"vhost-agent top", "tests/agent/test_live.py::"
              "test_top_in_a_pipe_has_rates_and_says_why_packets_are_dropped"),
    # curl is not on every machine
    Elsewhere(r"curl -s http://127.0.0.1:9945/metrics .*",
              "tests/agent/test_metrics_server.py::test_agent_serves_metrics_where_it_is_told"),
    Elsewhere(r"cp packaging/prometheus/vhost-agent.rules.yml .*|promtool check config .*",
              "tests/metrics/test_prometheus.py::test_promtool_finds_nothing_to_say"),
    # what it finds is this machine's
    Elsewhere(r"(.venv/bin/)?vhost-agent doctor", "tests/agent/test_doctor.py"),
)
