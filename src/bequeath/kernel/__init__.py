"""What every room may use: located errors, whole-or-not-at-all files, units. Never imports torch."""
