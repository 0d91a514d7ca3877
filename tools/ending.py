"""Being told to end is an interrupt like Ctrl-C: what was made is taken away first."""
from __future__ import annotations

import signal


def interrupt_when_told_to_end() -> None:
    """SIGTERM (a time limit, CI) and SIGHUP (the terminal was closed) raise KeyboardInterrupt in
    the main thread, once; cleaning up is not interrupted by more of them."""
    told = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]

    def interrupt(*_: object) -> None:
        for number in told:
            signal.signal(number, lambda *_: None)
        raise KeyboardInterrupt

    for number in told:                             # nohup's SIGHUP stays ignored
        signal.signal(number, interrupt)
