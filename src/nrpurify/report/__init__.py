"""Results as one self-contained HTML page. Needs the extra ``report``."""

from nrpurify.report.page import Panel, Strip, difference_panel, render_demo, write_demo

__all__ = ["Panel", "Strip", "difference_panel", "render_demo", "write_demo"]
