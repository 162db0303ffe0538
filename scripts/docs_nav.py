"""A hook of mkdocs: every method's page stands in the menu, and nobody keeps a list of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    folder = Path(config["docs_dir"]) / "methods"
    families = sorted(path for path in folder.iterdir() if path.is_dir())
    for entry in config["nav"]:
        if isinstance(entry, dict) and "Methods" in entry:
            for family in families:
                pages = sorted(family.glob("*.md"))
                menu = [{page.stem: f"methods/{family.name}/{page.name}"} for page in pages]
                entry["Methods"].append({family.name: menu})
    return config
