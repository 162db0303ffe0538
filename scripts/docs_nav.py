"""A hook of mkdocs: every method's page stands in the menu, and nobody keeps a list of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    folder = Path(config["docs_dir"]) / "methods"
    pages = sorted(page.name for page in folder.glob("*.md") if page.name != "index.md")
    for entry in config["nav"]:
        if isinstance(entry, dict) and "Methods" in entry:
            entry["Methods"] += [{Path(page).stem: f"methods/{page}"} for page in pages]
    return config
