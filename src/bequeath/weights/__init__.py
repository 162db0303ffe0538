"""Arithmetic on checkpoints: named tensors in, named tensors out, never a whole model in memory.

    header.py       what a file or a sharded folder holds, from its headers
    recipe.py       a merge said in data: rule, models, settings
    parameters.py   settings that differ by model, by name and by depth
    mergekit.py     a recipe read from a mergekit file
    checks.py       can these models be merged: names, shapes, types, room
    rule.py         what a merge rule is
    rules/          one file a rule
    delta.py        what the rules on task vectors share; select.py thresholds, random_mask.py
                    masks, sums.py sums, none of which depend on how a tensor is cut
    memory.py       a rule on tensors in memory
    layout.py       where each tensor of a result will lie
    stream.py       a rule on files, part by part; disk.py reads and writes
    carry.py        what goes along with a model
    merge.py        all of it: a recipe and a place to write

Only `memory`, `stream` and what they call import torch.
"""
