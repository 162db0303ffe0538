"""What the user wrote: schema, YAML with places, overrides, located errors. Never imports torch."""
