"""The site: `make docs` builds it into build/site."""
from agent import VERSION

project = "ovs-vhost-agent"
version = release = VERSION
copyright = "the authors of ovs-vhost-agent"
extensions = ["myst_parser"]
myst_heading_anchors = 4        # links to headings are written as forges have them
html_theme = "furo"
html_title = f"ovs-vhost-agent {VERSION}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_show_sphinx = False
pygments_style = "sphinx"
nitpicky = True                 # a dead link ends the build, which takes warnings for errors
