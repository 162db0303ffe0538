"""Distillation: from a teacher to a student."""
