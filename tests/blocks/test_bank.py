"""The memory bank against brute force."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from bequeath.blocks import bank
from bequeath.blocks.bank import Bank, fill, nearest, top
from bequeath.kernel.errors import RunError


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("n", [7, 300, 64 * 40, 64 * 40 + 17])
def test_nearest_is_what_a_full_sort_finds(n, monkeypatch):
    monkeypatch.setattr(bank, "_CELLS", 3 * n)  # chunks of three queries
    rows, queries = rand(n, 5), rand(10, 5, seed=1)
    values, places = nearest(queries, rows, 4)
    order = (queries @ rows.T).argsort(dim=1, descending=True)[:, :4]
    assert torch.equal(places, order)
    torch.testing.assert_close(values, (queries @ rows.T).gather(1, order))


def test_never_holds_all_products(monkeypatch):
    sizes = []

    def watched(values, k):
        sizes.append(values.numel())
        return top(values, k)

    monkeypatch.setattr(bank, "_CELLS", 2000)
    monkeypatch.setattr(bank, "top", watched)
    nearest(rand(90, 3), rand(500, 3), 2)
    assert max(sizes) <= 2000 and sum(sizes) == 90 * 500


def test_a_row_left_out_is_not_found():
    rows = rand(50, 4)
    _, near = nearest(rows, rows, 3, without=torch.arange(50))
    assert not bool((near == torch.arange(50)[:, None]).any())
    everyone = (rows @ rows.T).fill_diagonal_(-torch.inf).argsort(dim=1, descending=True)
    assert torch.equal(near, everyone[:, :3])


@pytest.mark.parametrize(("k", "without"), [(0, None), (4, None), (3, torch.tensor([0]))])
def test_more_neighbours_than_rows_are_refused(k, without):
    with pytest.raises(ValueError, match="neighbours are asked for"):
        nearest(rand(1, 2), rand(3, 2), k, without=without)


def test_top_with_equal_values_gives_the_same_values():
    values = torch.randint(0, 4, (6, 64 * 30), generator=torch.Generator().manual_seed(0)).float()
    best, at = top(values, 5)
    assert torch.equal(best, values.topk(5).values) and torch.equal(values.gather(1, at), best)
    assert all(len(set(row.tolist())) == 5 for row in at)


def test_first_drops_whoever_is_nearest_and_self_the_own_row():
    held = Bank(4, 2, 2)
    held.write(torch.arange(4), torch.tensor([[1.0, 0], [0, 1], [1, 0.1], [1, 1]]), torch.eye(4, 2))
    moved = torch.tensor([[0.0, 5.0]])  # sample 0 seen another way lies on sample 1
    assert held.neighbours(torch.tensor([0]), moved, 1, "first").tolist() == [[3]]
    assert held.neighbours(torch.tensor([0]), moved, 1, "self").tolist() == [[1]]


def test_write_changes_its_rows_alone_and_normalises():
    held = Bank(5, 3, 2)
    held.write(torch.tensor([4, 1]), 7 * rand(2, 3), torch.tensor([[0.2, 0.8], [0.5, 0.5]]))
    lengths = held.features.norm(dim=1)
    torch.testing.assert_close(lengths, torch.tensor([0.0, 1, 0, 0, 1]))
    assert held.predictions[4].tolist() == pytest.approx([0.2, 0.8])
    assert not list(held.parameters()) and "features" in held.state_dict()


def test_an_epoch_is_due_once():
    held = Bank(2, 2, 2)
    assert [held.due(e) for e in (0, 0, 1, 1)] == [True, False, True, False]
    again = Bank(2, 2, 2)
    again.load_state_dict(held.state_dict())
    assert not again.due(1)


class Tiny(torch.nn.Module):
    """A model with dropout that must be off during the pass."""

    def __init__(self, spoil: bool = False):
        super().__init__()
        self.body, self.drop = torch.nn.Linear(3, 4), torch.nn.Dropout(0.5)
        self.head, self.spoil, self.seen = torch.nn.Linear(4, 2), spoil, None

    def forward(self, batch):
        self.seen = self.drop(self.body(batch["x"])) * (torch.nan if self.spoil else 1.0)
        return self.head(self.seen)


class Tapped(dict):
    def __init__(self, model):
        self.model = model

    def __getitem__(self, name):
        return self.model.seen


def data(n: int = 300) -> SimpleNamespace:
    x = rand(n, 3).float()

    class Data:
        def __len__(self):
            return n

        def fetch(self, idx):
            return {"idx": idx, "x": x[idx]}

    return SimpleNamespace(data=Data(), x=x)


def test_fill_is_an_evaluation_pass_and_leaves_the_mode():
    model, given = Tiny().train(), data()
    held = Bank(300, 4, 2)
    fill(held, model, Tapped(model), given.data)
    assert model.training
    with torch.no_grad():
        z = model.body(given.x)
        torch.testing.assert_close(held.features, F.normalize(z, dim=1))
        torch.testing.assert_close(held.predictions, model.head(z).softmax(1))


def test_answers_that_are_no_numbers_stop_the_run():
    model, given = Tiny(spoil=True), data(20)
    with pytest.raises(RunError) as caught:
        fill(Bank(20, 4, 2), model, Tapped(model), given.data)
    assert caught.value.problem.code == "T640"
