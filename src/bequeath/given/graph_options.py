"""What each graph scheme takes besides its reference. Never imports torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from bequeath.given.option_types import Bytes
from bequeath.given.options import Options


class GraphOptions(Options):
    """What every graph scheme takes."""

    text: str | None = Field(
        default=None,
        min_length=1,
        description="file of lines `entity TAB text`; the word `names`: an entity's own name is "
        "its text, with spaces for underscores (default: entity2text.txt beside the triples, if "
        "it is there; otherwise entities have no text)",
    )
    missing_text: Literal["refuse", "name", "none"] = Field(
        default="refuse",
        description="entities that the text file lacks: refuse the graph, take the entity's own "
        "name as its text, or leave them without",
    )
    unseen: Literal["refuse", "drop", "keep"] = Field(
        default="refuse",
        description="valid and test triples with entities that do not occur in train: refuse the "
        "graph, leave these triples out (as PyKEEN does), or keep the entities, untrained",
    )
    overlap: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="valid and test triples that occur in train too: refuse the graph, or leave "
        "them out of valid and test",
    )
    entities: int | None = Field(
        default=None,
        ge=2,
        description="only the part of the graph on so many entities, gathered breadth first from "
        "the most connected one",
    )
    memory: Bytes | None = Field(
        default=None,
        description="most memory each file's triples may take (default: half of what is free)",
    )


class SeparatedGraph(GraphOptions):
    sep: str = Field(
        default="tab",
        min_length=1,
        max_length=3,
        description="the character between head, relation and tail, or the word tab",
    )

    @field_validator("sep")
    @classmethod
    def _one_character(cls, value: str) -> str:
        value = {"tab": "\t", "\\t": "\t"}.get(value, value)
        if len(value) != 1 or value in "\r\n":
            raise ValueError("`sep` is one character, or the word tab")
        return value


class KgGraph(SeparatedGraph):
    """kg:FOLDER, a file of triples for each split: train.txt, valid.txt, test.txt (or .tsv, .gz).

    Once `train` is named, only the files that are named are used. Names of files, that of `text`
    too, begin at the folder.
    """

    train: str | None = Field(default=None, description="file in the folder to train on")
    valid: str | None = Field(default=None, description="file in the folder to choose by")
    test: str | None = Field(default=None, description="file in the folder to judge by")


class TsvGraph(SeparatedGraph):
    """tsv:FILE, all triples in one file; valid and test are drawn from it."""

    test_size: float = Field(default=0.1, gt=0, lt=1, description="share of triples for test")
    val_size: float = Field(default=0.0, ge=0, lt=1, description="share of triples for valid")
    split_seed: int = Field(
        default=0, ge=0, lt=2**62, description="which of the random divisions of the triples"
    )


class PykeenGraph(GraphOptions):
    """pykeen:NAME, a graph that comes with PyKEEN: nations, kinships, umls."""


GRAPH_OPTIONS: dict[str, type[GraphOptions]] = {
    "kg": KgGraph,
    "pykeen": PykeenGraph,
    "tsv": TsvGraph,
}
