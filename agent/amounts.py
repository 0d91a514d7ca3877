"""Numbers as a person reads them at a glance: pure."""
from __future__ import annotations

STEPS = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))
BINARY = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
TIMES = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def short(number: float) -> str:
    """Four characters or so: 0, 999, 1.23k, 14.6M, 120G. Below 10 a fraction has one digit."""
    for least, unit in STEPS:
        if number >= least * 0.9995:
            scaled = number / least
            digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
            return f"{scaled:.{digits}f}{unit}"
    if 0 < number < 9.95 and number != int(number):
        return f"{number:.1f}" if number >= 0.05 else "<0.1"
    return f"{number:.0f}"


def size(number: int) -> str:
    """Bytes, in powers of 1024: 2 MiB, 1.5 GiB."""
    for least, unit in BINARY:
        if number >= least:
            return f"{number / least:.3g} {unit}" if number < 1000 * least else (
                f"{number // least} {unit}")
    return f"{number} B"


def duration(seconds: float) -> str:
    """The two largest units: 3 d 4 h, 2 min 5 s, 0 s."""
    rest, parts = int(seconds), list[str]()
    for length, unit in TIMES:
        count, rest = divmod(rest, length)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(filter(None, parts)) or "0 s"
