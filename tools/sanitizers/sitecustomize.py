"""Gives every Python of a sanitized run the sanitizer's library, and what it starts not.

The interpreter is not compiled for a sanitizer, so the library has to be there before it: the
interpreter starts itself once more with LD_PRELOAD. Other programs (ovsdb-server, testpmd) run as
they always do. Python imports this module by its name when it starts (tools/sanitize.py has put
its directory in PYTHONPATH).
"""
import os
import sys

if sys.prefix != sys.base_prefix:               # the agent's and the tests' own, not Debian's tools
    libraries = os.environ["SANITIZER_LIBRARIES"]
    if os.environ.get("LD_PRELOAD") == libraries:
        del os.environ["LD_PRELOAD"]
    else:
        os.environ["LD_PRELOAD"] = libraries
        os.execv(sys.executable, sys.orig_argv)
