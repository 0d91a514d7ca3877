"""Linux's vduse module without its refusal of control queues.

    python3 -m tools.vduse_module FILE      writes that of the running kernel

No Linux so far (6.12) makes a VDUSE network device with a control queue, so none has more than one
queue pair. The rest of the module does not care: with that one check always passed, what there is
for several queue pairs can be seen at work. For machines that are thrown away afterwards.
"""
from __future__ import annotations

import lzma
import os
import re
import sys
from pathlib import Path

PLACE = "/lib/modules/{}/kernel/drivers/vdpa/vdpa_user/vduse.ko.xz"
# test $(1 << VIRTIO_NET_F_CTRL_VQ), of a register: a bit that nothing else in there tests.
CHECK = re.compile(rb"(?:\xa9|\xf7[\xc0-\xc7])\x00\x00\x02\x00")
SIGNED = b"~Module signature appended~\n"      # the signature does not fit any more


def lifted(module: bytes) -> bytes:
    """The module with that check testing no bit; ValueError when it has none, or several."""
    found = list(CHECK.finditer(module))
    if len(found) != 1:
        raise ValueError(f"the check for a control queue is there {len(found)} times")
    end = found[0].end()
    return (module[:end - 4] + bytes(4) + module[end:]).removesuffix(SIGNED)


if __name__ == "__main__":
    place = Path(PLACE.format(os.uname().release))
    Path(sys.argv[1]).write_bytes(lifted(lzma.decompress(place.read_bytes())))
