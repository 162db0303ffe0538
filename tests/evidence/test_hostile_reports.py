"""Reports and cards of every kind, full of hostile text: shown as text, run as nothing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hostile import LONG, MADE
from test_report_browser import browser  # noqa: F401

from bequeath.evidence.card import write_card
from bequeath.evidence.report import write_report

URLS = ("href", "src", "xlink:href", "action", "formaction", "srcdoc", "data", "poster")


@pytest.fixture(scope="module", params=list(MADE))
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = MADE[request.param](tmp_path_factory.mktemp("hostile") / "out")
    write_card(out)
    return write_report(out)


class Tags(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_no_tag_and_no_handler_comes_from_a_name(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    tags = Tags(text).tags
    assert [a.get("type") for tag, a in tags if tag == "script"] == ["application/json", None]
    assert [tag for tag, _ in tags if tag in ("img", "iframe", "object", "embed", "base")] == []
    assert [tag for tag, _ in tags].count("style") == 1
    for tag, attributes in tags:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in URLS:
            address = attributes.get(name) or "#"
            assert address.startswith("#") or address == "data:,", (tag, attributes)
    (policy,) = (
        str(a["content"]) for _, a in tags if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy and "script-src 'unsafe" not in policy
    assert not re.search("[\u2028\u2029\u202e\u2066\x1b]", text)


def test_the_card_is_markdown_of_our_own(page: Path) -> None:
    from ruamel.yaml import YAML

    text = (page.parent / "MODEL_CARD.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    assert YAML(typ="safe").load(front)["license"]
    plain = re.sub(r"(`{3,})(?:python|sh)\n.*?\n\1(?=\n|$)", "", body, flags=re.DOTALL)
    plain = re.sub(r"`[^`\n]*`", "", re.sub(r"\\[\\`*_\[\]<>|#]", "", plain))
    assert not re.search(r"<[A-Za-z!/]", plain), plain
    assert "](" not in plain
    heads = re.findall(r"^#+ .*", plain, flags=re.MULTILINE)
    known = ("What it is", "Results", "How to load it", "Limits", "Licence", "Provenance")
    assert all(head.removeprefix("## ") in known for head in heads[1:]), heads
    assert not re.search("[\u2028\u2029\u202e\u2066\x1b]", text)


def test_the_twin_is_json(page: Path) -> None:
    said = json.loads((page.parent / "report.json").read_text(encoding="utf-8"))
    assert said["kind"] == "bequeath report"
    brief = re.search(r'id="brief">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    assert brief is not None and json.loads(brief[1])["sentence"] == said["sentence"]


def test_nothing_of_it_runs_in_a_browser(browser: Any, page: Path) -> None:  # noqa: F811
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    said: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(page.as_uri())
    opened.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    for button in opened.locator("th button").all()[:4]:
        button.click()
    for width in (1280, 390):
        opened.set_viewport_size({"width": width, "height": 800})
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.evaluate("window.hit") is None
    assert said == [] and asked == [page.as_uri()]
    assert opened.locator("h1").is_visible()
    assert LONG[:20] in opened.content()
    opened.close()
