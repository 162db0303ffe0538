"""What the command line prints, as rich renderables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bequeath.job import tell
from bequeath.job.suggest import Suggestion
from bequeath.job.words import shown
from bequeath.kernel.errors import Problem, spans, visible
from bequeath.kernel.units import show_size
from bequeath.methods.contract import Method
from bequeath.methods.family import families

STYLES = {
    "error": "bold red",
    "title": "bold",
    "gutter": "blue",
    "place": "",
    "source": "",
    "caret": "bold red",
    "note": "",
    "help": "bold green",
}
FOUND = {"wrong": "bold red", "look": "yellow", "unknown": "dim", "fine": "green"}


def coloured(problem: Problem) -> Text:
    """The lines of a located error, coloured; the words are those of `errors.render`."""
    text = Text()
    for line in spans(problem):
        for style, piece in line:
            text.append(piece, STYLES[style])
        text.append("\n")
    return text


def method_table(methods: Sequence[Method]) -> RenderableType:
    """Families with what one owns and gets, and their methods."""
    parts: list[RenderableType] = []
    for want, family in families().items():
        here = [method for method in methods if method.want == want]
        if not here:
            continue
        parts.append(Text.assemble((f"want: {want}", "bold"), f"  {family.own} -> {family.get}"))
        table = _table("method", "what it does", "needs")
        for method in here:
            table.add_row(Text(method.name, "bold"), method.title, _needs(method))
        parts += [table, Text()]
    parts.append(Text("bequeath explain METHOD tells more.", "dim"))
    return Group(*parts)


def suggestion_table(
    found: Sequence[Suggestion], past: Mapping[str, Sequence[str]]
) -> RenderableType:
    """What applies with its cost and what its claims came to; then what the others lack."""
    fits, others = _table("method", "what it does", "one run here", "claims"), _table("", "lacks")
    for one in found:
        name = Text.assemble((one.method.name, "bold"), f"\n{one.method.want}")
        if one.applies:
            verdicts = "\n".join(past.get(one.method.name, ())) or "none judged"
            title = one.method.title
            if one.unused:
                title += f"\nLeaves aside {', '.join(one.unused)}."
            fits.add_row(name, title, one.cost or "", verdicts)
        else:
            others.add_row(
                Text.assemble((one.method.name, "bold"), f" ({one.method.want})"),
                "; ".join(one.lacks),
            )
    parts: list[RenderableType] = []
    if fits.row_count:
        parts += [Text("These apply:", "bold"), fits]
    else:
        parts.append(Text("No method applies to what this job owns.", "bold"))
    if others.row_count:
        parts += [Text(), Text("The others lack something:", "bold"), others]
    return Group(*parts, Text(), Text("bequeath explain METHOD tells more.", "dim"))


def topic_page(topic: tell.Topic) -> RenderableType:
    """A page on an error code, a method or a setting."""
    if isinstance(topic, Method):
        return _method_page(topic)
    if isinstance(topic, tell.Setting):
        return _setting_page(topic)
    name, code = topic
    return Group(
        Text.assemble((name, "bold red"), ": ", (code.title, "bold")),
        Text(),
        Text(code.why),
        Text(),
        Text.assemble(("help: ", "bold green"), code.fix),
    )


def finding_list(found: Sequence[Any]) -> RenderableType:
    """What `doctor` found, the worst first: level, check, sentence, remedy."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in found:
        text = Text(visible(one.says))
        if one.do:
            text.append("\nhelp: ", "bold green").append(visible(one.do))
        table.add_row(Text(one.level, FOUND[one.level]), Text(one.check, "bold"), text)
    counts = {level: sum(one.level == level for one in found) for level in FOUND}
    said = ", ".join(f"{count} {level}" for level, count in counts.items() if count)
    return Group(table, Text(), Text(said or "nothing was found to look at", "dim"))


def cache_table(contents: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The cached answers of teachers, one row each, and what they take together."""
    if not contents:
        return Text("nothing is cached")
    table = _table("key", "teacher", "samples", "views", "outputs", "size", "made")
    for one in contents:
        table.add_row(
            one["key"][:8],
            str(one["teacher"]),
            shown(one["samples"]),
            shown(one["views"]),
            ", ".join(one["outputs"]),
            show_size(one["bytes"]),
            str(one["created"])[:16].replace("T", " "),
        )
    total = sum(one["bytes"] for one in contents)
    return Group(table, Text(f"{len(contents)} in all, {show_size(total)}", "dim"))


def _method_page(method: Method) -> RenderableType:
    head = Text.assemble((method.name, "bold"), f"  (want: {method.want})")
    table = _table("setting", "takes", "default", "what it is")
    for one in tell.settings_of(method.Config):
        means = Text(one.means)
        if one.source:
            means.append(f"\ndefault from: {one.source}", "dim")
        table.add_row(Text(one.name, "bold"), one.takes, shown(one.default), means)
    known = [Text(f"exactly known: {case.says}", "dim") for case in method.identity]
    return Group(
        head,
        Text(method.title, "italic"),
        Text(),
        Padding(Text(method.doc), (0, 0, 0, 2)),
        Text(),
        Text.assemble(("needs  ", "bold"), _needs(method)),
        Text.assemble(("paper  ", "bold"), method.paper),
        Text(),
        table,
        Text(),
        *known,
    )


def _setting_page(setting: tell.Setting) -> RenderableType:
    lines = [
        Text.assemble((setting.name, "bold"), f": {setting.means}"),
        Text.assemble(("takes    ", "bold"), setting.takes),
        Text.assemble(("default  ", "bold"), shown(setting.default)),
    ]
    if setting.source:
        lines.append(Text.assemble(("source   ", "bold"), setting.source))
    return Group(*lines)


def _needs(method: Method) -> str:
    return tell.needs_in_words(method.needs)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
