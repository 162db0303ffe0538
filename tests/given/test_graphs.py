"""Graphs by reference: numbered as PyKEEN numbers them, and every fault with its place."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bequeath.given.graph_options import GRAPH_OPTIONS
from bequeath.given.graph_schemes.pykeen import BUNDLED
from bequeath.given.graphs import Graph, GraphView, graph_handle
from bequeath.kernel.codes import CODES
from bequeath.kernel.errors import AccessDenied, JobError, Problem

TRAIN = [("b", "likes", "a"), ("a", "likes", "c"), ("c", "knows", "b"), ("c", "likes", "d")]
TEST = [("a", "knows", "b")]


def write(path: Path, triples: list[tuple[str, ...]], sep: str = "\t") -> None:
    path.write_text("".join(sep.join(t) + "\n" for t in triples), encoding="utf-8")


def folder(tmp_path: Path, train=TRAIN, test=TEST, valid=None, text: str | None = None) -> str:
    write(tmp_path / "train.txt", train)
    write(tmp_path / "test.txt", test)
    if valid is not None:
        write(tmp_path / "valid.txt", valid)
    if text is not None:
        (tmp_path / "entity2text.txt").write_text(text, encoding="utf-8")
    return f"kg:{tmp_path}"


def load(ref: str, **options) -> Graph:
    return graph_handle("kg", ref, options).load()


def one(ref: str, *, static: bool, **options) -> Problem:
    """The one problem; `static` says whether it must be seen without reading it all."""
    handle = graph_handle("kg", ref, options)
    assert bool(handle.static_problems()) == static, handle.static_problems()
    with pytest.raises(JobError) as caught:
        handle.load()
    assert len(caught.value.problems) == 1, caught.value.problems
    problem = caught.value.problems[0]
    assert problem.at[:2] == ("graphs", "kg") and problem.code in CODES
    return problem


def test_names_are_numbered_in_their_order(tmp_path):
    graph = load(folder(tmp_path))
    assert graph.entities == ("a", "b", "c", "d") and graph.relations == ("knows", "likes")
    assert graph.train.tolist() == [[1, 1, 0], [0, 1, 2], [2, 0, 1], [2, 1, 3]]
    assert graph.test.tolist() == [[0, 0, 1]] and graph.valid.shape == (0, 3)
    assert graph.texts == (None,) * 4 and graph.notes == {}
    facts = graph.facts
    assert (facts.entities, facts.relations, facts.train, facts.test) == (4, 2, 4, 1)


def test_pykeen_numbers_alike():
    pytest.importorskip("pykeen")
    triples = pytest.importorskip("pykeen.triples")
    graph = load("pykeen:Nations")
    path = Path(sys.modules["pykeen"].__file__).parent / "datasets" / "nations" / "train.txt"
    theirs = triples.TriplesFactory.from_path(path)
    assert theirs.entity_to_id == {name: i for i, name in enumerate(graph.entities)}
    assert theirs.relation_to_id == {name: i for i, name in enumerate(graph.relations)}
    assert set(map(tuple, theirs.mapped_triples.tolist())) == set(map(tuple, graph.train.tolist()))


def test_pykeen_bundles_what_we_say():
    pytest.importorskip("pykeen")
    pykeen = pytest.importorskip("pykeen")
    there = Path(pykeen.__file__).parent / "datasets"
    held = {p.name for p in there.iterdir() if (p / "train.txt").is_file()}
    assert held == set(BUNDLED)
    assert one("pykeen:nation", static=True).code == "D216"


def test_repeated_triples_are_kept_once_and_counted(tmp_path):
    ref = folder(tmp_path, train=[*TRAIN, TRAIN[0], TRAIN[1]])
    graph = load(ref)
    assert len(graph.train) == 4
    assert graph.notes == {"repeated triples, kept once": {"train": 2}}


def test_a_triple_in_two_splits(tmp_path):
    ref = folder(tmp_path, test=[*TEST, TRAIN[0]], valid=[TEST[0], ("b", "likes", "c")])
    handle = graph_handle("kg", ref)
    with pytest.raises(JobError) as caught:
        handle.load()
    assert [p.code for p in caught.value.problems] == ["D284", "D284"]
    assert "b likes a" in caught.value.problems[0].notes[0]
    write(tmp_path / "test.txt", [*TEST, TRAIN[0], ("d", "likes", "a")])
    graph = load(ref, overlap="drop")
    assert graph.test.tolist() == [[3, 1, 0]] and sum(graph.notes.values()) == 2


def test_unseen_names(tmp_path):
    ref = folder(tmp_path, test=[*TEST, ("new", "likes", "a"), ("a", "hates", "b")])
    problem = one(ref, static=False)
    assert problem.code == "D283" and "2 of 3 test" in problem.message
    assert "`hates`" in problem.notes[0] and "`new`" in problem.notes[1]
    dropped = load(ref, unseen="drop")
    assert len(dropped.test) == 1 and "new" not in dropped.entities
    # a relation without a vector cannot be kept; an entity can
    assert "`hates`" in one(ref, static=False, unseen="keep").notes[0]
    write(tmp_path / "test.txt", [*TEST, ("new", "likes", "a")])
    kept = load(ref, unseen="keep")
    assert "new" in kept.entities and len(kept.test) == 2 and kept.notes


def test_lines_that_are_no_triples(tmp_path):
    ref = folder(tmp_path)
    (tmp_path / "train.txt").write_text("a\tb\tc\n\na\tb\na\t\tc\n")
    problem = one(ref, static=True)
    assert problem.code == "D281" and problem.notes[0] == "line 3: 2 columns; line 4: an empty name"
    write(tmp_path / "train.txt", TRAIN, sep="|")
    write(tmp_path / "test.txt", TEST, sep="|")
    assert len(load(ref, sep="|").train) == 4
    with pytest.raises(ValueError, match="one character"):
        graph_handle("kg", ref, {"sep": "||"})


def test_empty_files(tmp_path):
    assert one(folder(tmp_path, train=[]), static=False).code == "D282"
    assert one(folder(tmp_path, test=[]), static=False).label == "nothing to judge by"
    gone = folder(tmp_path, test=[("x", "likes", "y")])
    assert one(gone, static=False, unseen="drop").code == "D282"


def test_missing_files(tmp_path):
    problem = one(f"kg:{tmp_path}/nowhere", static=True)
    assert problem.code == "D201" and problem.at == ("graphs", "kg", "ref")
    ref = folder(tmp_path)
    problem = one(ref, static=True, train="train.tsv", test="test.txt")
    assert problem.code == "D201" and problem.at == ("graphs", "kg", "train")
    assert one(ref, static=True, text=str(tmp_path / "t.txt")).at == ("graphs", "kg", "text")
    (tmp_path / "test.txt").unlink()
    problem = one(ref, static=True)
    assert problem.code == "D280" and "`train.txt`" in problem.notes[0]


def test_damaged_files(tmp_path):
    ref = folder(tmp_path)
    (tmp_path / "train.txt").write_bytes(b"a\tb\t\xff\xfe\n")
    assert "not UTF-8" in one(ref, static=True).notes[0]
    packed = gzip.compress(b"a\tb\tc\n" * 50)
    (tmp_path / "train.txt").write_bytes(packed[: len(packed) // 2])
    assert one(ref, static=True).code == "D202"


def test_gzip_and_named_files(tmp_path):
    for name, triples in (("my_train.tsv.gz", TRAIN), ("my_valid.tsv.gz", TEST)):
        (tmp_path / name).write_bytes(
            gzip.compress("".join("\t".join(t) + "\n" for t in triples).encode())
        )
    write(tmp_path / "valid.txt", [("not", "looked", "for")])
    graph = load(f"kg:{tmp_path}", train="my_train.tsv.gz", test="my_valid.tsv.gz")
    assert len(graph.train) == 4 and len(graph.valid) == 0


def test_texts(tmp_path):
    pytest.importorskip("pykeen")
    ref = folder(tmp_path, text="a\tletter a,  first\nb\tletter b\nc\t\nb\tagain\nzz\tnobody\n")
    problem = one(ref, static=False)
    assert problem.code == "D285" and "2 of 4 entities" in problem.message
    assert "`c`, `d`" in problem.notes[0]
    named = load(ref, missing_text="name")
    assert named.texts == ("letter a, first", "letter b", "c", "d")
    assert named.notes["text lines about the same entity"] == 1
    assert load(ref, missing_text="none").texts[2:] == (None, None)
    assert load(ref, text="names").texts == ("a", "b", "c", "d")
    # the name of a text file begins at the folder, as those of the triples do
    (tmp_path / "other.txt").write_text("a\tA\nb\tB\nc\tC\nd\tD\n")
    assert load(ref, text="other.txt").texts == ("A", "B", "C", "D")
    assert load("pykeen:nations", text=str(tmp_path / "other.txt"), missing_text="name").texts
    (tmp_path / "entity2text.txt").write_text("just words\n")
    assert one(ref, static=False).code == "D286"


def test_names_as_texts():
    pytest.importorskip("pykeen")
    graph = load("pykeen:umls", text="names")
    assert graph.texts[graph.entities.index("acquired_abnormality")] == "acquired abnormality"


def test_one_file_is_divided(tmp_path):
    g = torch.Generator().manual_seed(0)
    drawn = torch.randint(20, (300, 2), generator=g).tolist()
    every = list(dict.fromkeys((f"e{h}", f"r{(h + t) % 3}", f"e{t}") for h, t in drawn))
    write(tmp_path / "all.tsv", [*every, every[0]])
    graph = load(f"tsv:{tmp_path}/all.tsv", test_size=0.2, val_size=0.1)
    sizes = [len(part) for part in (graph.train, graph.valid, graph.test)]
    n = len(every)
    assert sizes == [n - round(n * 0.1) - round(n * 0.2), round(n * 0.1), round(n * 0.2)]
    assert set(graph.train[:, [0, 2]].flatten().tolist()) == set(range(graph.n_entities))
    again = load(f"tsv:{tmp_path}/all.tsv", test_size=0.2, val_size=0.1)
    other = load(f"tsv:{tmp_path}/all.tsv", test_size=0.2, val_size=0.1, split_seed=1)
    assert again.hash == graph.hash != other.hash
    write(tmp_path / "chain.tsv", [("a", "r", "b"), ("b", "r", "c"), ("c", "r", "d")])
    assert one(f"tsv:{tmp_path}/chain.tsv", static=False, test_size=0.5).code == "D282"


def test_part_of_a_graph(tmp_path):
    pytest.importorskip("pykeen")
    part = load("pykeen:nations", entities=6)
    assert part.n_entities == 6 and 0 < len(part.test) < 201
    whole = load("pykeen:nations")
    kept = {(whole.entities[h], whole.entities[t]) for h, _, t in whole.train.tolist()}
    assert {(part.entities[h], part.entities[t]) for h, _, t in part.train.tolist()} <= kept
    assert load("pykeen:nations", entities=6).hash == part.hash
    assert one("pykeen:nations", static=False, entities=500).code == "D287"


def test_the_hash_is_of_the_content(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    first, second = load(folder(tmp_path / "x")), load(folder(tmp_path / "y"))
    assert first.hash == second.hash
    assert load(folder(tmp_path / "y"), text="names").hash != first.hash
    assert load(folder(tmp_path / "y", train=TRAIN[:3])).hash != first.hash


def test_a_method_does_not_see_test_triples(tmp_path):
    graph, attempts = load(folder(tmp_path)), []
    view = GraphView("kg", graph, attempts)
    assert torch.equal(view.train, graph.train) and view.entities == graph.entities
    with pytest.raises(AccessDenied):
        _ = view.test
    assert len(attempts) == 1 and "test triples" in attempts[0]
    assert not any(value is graph.test for name in dir(view) if name != "test"
                   for value in [getattr(view, name)])  # fmt: skip


def test_unknown_schemes_and_options():
    pytest.importorskip("pykeen")
    with pytest.raises(ValueError, match="no graph scheme"):
        graph_handle("kg", "rdf:x")
    with pytest.raises(ValueError, match="Extra inputs"):
        graph_handle("kg", "pykeen:umls", {"texts": "names"})
    assert all(options.model_fields["text"].description for options in GRAPH_OPTIONS.values())


def test_looking_needs_no_torch():
    pytest.importorskip("pykeen")
    code = (
        "import sys; from bequeath.given.graphs import graph_handle; "
        "assert not graph_handle('kg', 'pykeen:umls').static_problems(); "
        "print(*{'torch', 'numpy', 'pykeen'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
