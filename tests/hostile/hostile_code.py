"""Models, data and methods that are somebody's code: not run unasked, and told at their line."""

from __future__ import annotations

import bad_files as make
from bad_files import TEACHER, swap
from hostile_case import RUN, Case, job

HEAD = "import os, sys, torch\nfrom torch import nn\n\n"


def code(name: str, what: str, codes: str, model: str, *says: str, arguments: tuple[str, ...] = RUN,
         exit: int = 1, train: str = "", method: str = "ce", head: str = HEAD,
         placed: bool = True) -> Case:  # fmt: skip
    """own.py is the user's: a model and, in place of the data, perhaps a function."""
    text = swap(f"  teacher: {TEACHER}\n", "").replace("kd", method)
    text = text.replace('{ref: "zoo:mlp", hidden: [4]}', '"py:own.py:net"')
    text = text.replace('"npz:train.npz"', f'"{train or "npz:train.npz"}"')
    return Case(name, f"own code: {what}", codes, job(text, make.text("own.py", head + model)),
                (*arguments, "--allow-code"), exit=exit, says=says, placed=placed)  # fmt: skip


NET = "def net(k):\n    return nn.Linear(6, k)\n"
FORWARD = """\
class N(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.f = nn.Linear(6, k)
    def forward(self, x):
{}
def net(k):
    return N(k)
"""
ITEMS = """\
class D:
    def __len__(self):
        return {}
    def __getitem__(self, i):
        {}
def train():
    return D()
"""
METHOD = """\
'''A method of the user's.'''
import torch
from torch import nn
from bequeath.given.access import Access, DataNeed, Labels, ModelNeed, Needs
from bequeath.methods.contract import Identity, MethodConfig, method
class C(MethodConfig):
    pass
def net(k):
    return nn.Linear(6, k)
MODELS = {"student": ModelNeed(Access.WEIGHTS, trains=True)}
NEEDS = Needs(models=MODELS, data={"train": DataNeed(Labels.ALL)})
@method(want="distill", paper="none", needs=NEEDS, identity=(Identity("nothing", "start"),))
def mine(ctx, given, cfg: C):
    '''Fail.'''
    return [][1]
"""
# A model that has learnt for a step and then is another, or is another when it is measured.
TRAINING = (
    "        if self.training and torch.is_grad_enabled() and self.seen:\n"
    "            {}\n        self.seen = True\n        return self.f(x)"
)
MEASURED = "        if not self.training and len(x) > 5:\n            {}\n        return self.f(x)"
LATER = {
    "none": ("None", "T691", "return None", "NoneType"),
    "tuple": ("a tuple with a text", "T691", "return ('x', self.f(x))", "a tuple"),
    "mapping": ("a mapping without logits", "T691", "return {'out': self.f(x)}", "a dict"),
    "nested": ("a tuple in a tuple", "T691", "return ((self.f(x),),)", "a tuple"),
    "whole": ("whole numbers", "T691", "return self.f(x).long()", "int64"),
    "complex": ("complex numbers", "T691", "return self.f(x) * 1j", "complex64"),
    "sparse": ("a sparse tensor", "T691", "return self.f(x).to_sparse()", "sparse_coo"),
    "nowhere": ("a tensor without content", "T691", "return self.f(x).to('meta')", "meta"),
    "flat": ("one number a sample", "T691", "return self.f(x)[:, 0]", "[16]"),
    "wide": ("more classes", "T691", "return torch.cat([self.f(x)] * 2, 1)", "[16, 6]"),
    "narrow": ("fewer classes", "T691", "return self.f(x)[:, :1]", "[16, 1]"),
    "rows": ("fewer samples", "T691", "return self.f(x)[:2]", "[2, 3]"),
    "detached": ("what no gradient reaches", "T605", "return self.f(x).detach()", "depend"),
    "inplace": ("a tensor changed in place", "T694", "return self.f(x).exp().mul_(2)", "inplace"),
    "stop": ("StopIteration", "T690", "raise StopIteration", "own.py:11"),
    "exit": ("GeneratorExit", "T690", "raise GeneratorExit", "own.py:11"),
    "mute": ("an error that cannot say what it is", "T690",
             "raise type('E', (Exception,), {'__str__': lambda e: 1 / 0})()", "own.py:11"),
    "base": ("an error that is no Exception", "T690",
             "raise type('E', (BaseException,), {})('x')", "own.py:11"),
}  # fmt: skip
MEASURED_TOO = ("none", "whole", "wide", "rows", "mute")
KEPT = FORWARD.replace("(6, k)\n", "(6, k)\n        self.seen = False\n", 1)


def later(name: str, way: str, what: str, codes: str, line: str, says: str) -> Case:
    when = "in training" if way == TRAINING else "when it is measured"
    says = says.replace("[16", "[40") if way == MEASURED else says
    placed = codes in ("T690", "T691", "T692")
    return code(f"own-{name}", f"a model that turns to {what} {when}", codes,
                KEPT.format(way.format(line)), says, placed=placed)  # fmt: skip


CHANGING = [
    *(later(f"later-{name}", TRAINING, *case) for name, case in LATER.items()),
    *(later(f"measured-{name}", MEASURED, *LATER[name]) for name in MEASURED_TOO),
    later("measured-nan", MEASURED, "no number", "T692", "return self.f(x) * float('nan')",
          "40 of 40"),
    later("measured-without", MEASURED, "zeros, without its classifier", "T693",
          "return x[:, :3] * 0", "has not run"),
]  # fmt: skip
BACK = METHOD.replace("import torch\n", "import torch\n"
                      "from bequeath.methods.contract import Outcome\n")  # fmt: skip
STUDENT = "models={'student': given.model('student').load()}"
RETURNED = {
    "nothing": ("nothing", "return None", "NoneType"),
    "dict": ("a dict", "return {}", "a dict"),
    "module": ("a module that is no model", "return Outcome(models={'student': nn.Linear(6, 3)})",
               "no `student`"),
    "list": ("a list of models", "return Outcome(models=[1])", "no dict"),
    "folder": ("a folder that is not there", "return Outcome(folder='nowhere')", "nowhere"),
    "notes": ("notes that are no JSON", f"return Outcome({STUDENT}, notes={{'a': object()}})",
              "JSON"),
}  # fmt: skip
RETURNING = [
    code(f"own-method-{name}", f"a method that hands back {what}", "T620",
         BACK.replace("return [][1]", line), says, method="./own.py:mine", head="")
    for name, (what, line, says) in RETURNED.items()
]  # fmt: skip
OWN = [
    Case("own-not-allowed", "own code: without leave", "J110",
         job(swap(TEACHER, '"py:own.py:net"'), make.text("own.py",
         "import os\nos.mkdir('ran')\n"))),
    code("own-import", "raises when it is imported", "M311", NET + "1 / 0\n", "own.py:6", exit=2),
    code("own-import-exit", "stops the program when it is imported", "M311", NET + "sys.exit(0)\n",
         exit=2),
    code("own-build", "raises when it builds", "M311",
         "def net(k):\n    raise RuntimeError('no')\n",
         "own.py:5", exit=2),
    code("own-build-exit", "stops the program when it builds", "M311",
         "def net(k):\n    sys.exit(0)\n", exit=2),
    code("own-returns", "builds something else", "M311", "def net(k):\n    return k\n", exit=2),
    code("own-deep", "an expression nested too deep to read", "M311",
         "def net(k):\n    return " + "(" * 5000 + ")" * 5000 + "\n", exit=2),
    code("own-sum", "a sum of 100,000 terms", "M311",
         "x = " + "+".join(["1"] * 100_000) + "\n" + NET, exit=2),
    code("own-latin", "a file that is not UTF-8", "M311", "x = '\udce9'\n" + NET, exit=2),
    code("own-forward", "raises in the middle of training", "T690",
         FORWARD.format("        if self.training and torch.is_grad_enabled():\n"
                        "            return self.f(x) + self.missing\n        return self.f(x)"),
         "own.py:10", "self.missing"),
    code("own-forward-first", "raises at the first batch it is shown", "T690",
         FORWARD.format("        raise KeyError('x')"), "own.py:9", exit=2),
    code("own-forward-exit", "stops the program while it trains", "T690",
         FORWARD.format(
         "        if self.training and torch.is_grad_enabled():\n            sys.exit(0)\n"
                        "        return self.f(x)"), "own.py:10"),
    code("own-shape", "answers in another shape", "T691", FORWARD.format(
        "        return self.f(x)[:2]"), "own.py:8", "[2, 3]"),
    code("own-data", "data whose function raises", "D219",
         NET + "def train():\n    return 1 / 0\n", "own.py:7", train="py:own.py:train", exit=2),
    code("own-data-exit", "data whose function stops the program", "D219",
         NET + "def train():\n    sys.exit(0)\n", train="py:own.py:train", exit=2),
    code("own-data-items", "a data set that raises at its third item", "D219",
         NET + ITEMS.format(9, "return (torch.zeros(6), i % 3) if i < 2 else [][i]"),
         "own.py:10", train="py:own.py:train", exit=2),
    code("own-data-endless", "a data set that says it is 10^18 long", "D219",
         NET + ITEMS.format("10**18", "raise IndexError(i)"), train="py:own.py:train", exit=2),
    code("own-data-mixed", "data of pieces that do not fit together", "D213",
         NET + "def train():\n    return {'x': [[1, 2], [3]], 'y': [0, 1]}\n",
         train="py:own.py:train", exit=2),
    code("own-data-labels", "labels that are pieces of all sizes", "D207",
         NET + "def train():\n    return {'x': torch.zeros(2, 6).numpy(), 'y': [[1], [1, 2]]}\n",
         train="py:own.py:train", exit=2),
    code("own-method", "a method that raises", "T690", METHOD, "own.py:15",
         method="./own.py:mine", head=""),
    code("own-method-import", "a method whose file raises", "J123", "raise ValueError('x')\n",
         "own.py:4", method="./own.py:mine", exit=2),
    code("own-method-exit", "a method whose file stops the program", "J123", "sys.exit(0)\n",
         method="./own.py:mine", exit=2),
]  # fmt: skip
CASES = [*OWN, *CHANGING, *RETURNING]
