"""Where knowledge graphs come from: one module a scheme, each with `find` and `read`.

`find(rest, options) -> Found` says what listings and first lines tell. `read(rest, options) ->
Splits` reads all triples and texts. Both raise, or hold, problems placed relative to the graph in
the job (`("ref",)`, `("train",)`, `("text",)`). `assemble` makes the graph of them. No torch at
import anywhere here.
"""
