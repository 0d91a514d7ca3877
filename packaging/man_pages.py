"""Writes a manual page for each command into a directory: man_pages.py DIRECTORY."""
import sys
from pathlib import Path

from click_man.core import write_man_pages

sys.path.insert(0, str(Path(__file__).parents[1]))

from agent import VERSION
from agent.cli import main
from agent.settings import PROGRAM

directory = Path(sys.argv[1])
directory.mkdir(parents=True)
write_man_pages(PROGRAM, main, version=VERSION, target_dir=str(directory))
