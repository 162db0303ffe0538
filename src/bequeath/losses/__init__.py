"""Losses: pure functions of tensors. Each returns one value a sample, [B], unless it says so."""
