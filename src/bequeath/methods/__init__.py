"""The methods: one file, one system. `contract` says what a method is, `catalog` finds them."""
