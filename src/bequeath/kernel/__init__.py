"""What every room may use: located errors, whole files, units. Never imports torch."""
