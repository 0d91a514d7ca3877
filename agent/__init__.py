"""The control plane: OVSDB in, plan, data plane, OVSDB out."""

VERSION = "0.1.0"
