"""Arithmetic on checkpoints: named tensors in, named tensors out, never a whole model in memory.

    header.py      what a file or a sharded folder holds, from its headers
    rule.py        what a merge rule is
    rules/         one file a merge rule: what becomes of one tensor of several models
    parameters.py  settings that differ by model, by name and by depth
    recipe.py      a merge said in data: rule, models, settings
    mergekit.py    the same read from a mergekit file
    checks.py      can these models be merged: names, shapes, types, sizes
    stream.py      the tensors of a recipe, a chunk at a time, from files to files
    merge.py       all of it: a recipe and a place to write

Only `memory`, `stream` and what they call import torch.
"""
