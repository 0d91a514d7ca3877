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


ELSEWHERE = (
    Elsewhere(r"apt-get install -y git make", ".ci/run"),
    Elsewhere(r"git clone URL ovs-vhost-agent && cd ovs-vhost-agent", ".ci/run"),
    Elsewhere(r"make demo", "tests/functional/test_demo.py::test_demo_works_and_leaves_nothing"),
    Elsewhere(r"qemu-system-x86_64 -accel kvm .* \$\(vhost-agent qemu-args \w+\) &",
              "tests/guests/test_qemu.py::test_client_ports"),
)
