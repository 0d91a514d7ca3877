"""Interface.ifindex of a vhost port: pure (OVS: netdev_dpdk_get_ifindex, hash_bytes)."""
from __future__ import annotations

from functools import lru_cache

WORD = 0xFFFFFFFF


def rotate(x: int, bits: int) -> int:
    return (x << bits | x >> (32 - bits)) & WORD


@lru_cache(maxsize=2048)
def ifindex(name: str) -> int:
    """1..16777214: MurmurHash3 of the name as OVS's build for any x86 makes it. Its build for
    SSE 4.2 makes other numbers."""
    data = name.encode()
    h = 0
    for i in range(0, len(data), 4):
        w = int.from_bytes(data[i:i + 4], "little") * 0xCC9E2D51 & WORD
        w = rotate(w, 15) * 0x1B873593 & WORD
        h = (rotate(h ^ w, 13) * 5 + 0xE6546B64) & WORD
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & WORD
    h = (h ^ h >> 13) * 0xC2B2AE35 & WORD
    return (h ^ h >> 16) % 0xFFFFFE + 1
