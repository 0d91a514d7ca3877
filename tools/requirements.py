"""Prints what pyproject.toml asks for, run time and development, one requirement a word."""
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
print(*project["dependencies"], *project["optional-dependencies"]["dev"])
