"""The data plane: DPDK start, port slots, vhost callbacks, PMD threads and the switching pipeline.

Only :mod:`pmd_ext.runtime` is visible to Python; it never imports ``agent``.
"""
