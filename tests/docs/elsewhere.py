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
    Elsewhere(r".venv/bin/vhost-agent capture -t ovs-vswitchd PORT \| tcpdump -n -r -",
              "tests/agent/test_capture_command.py::test_live_pipe_shows_packets_as_they_come"),
)
