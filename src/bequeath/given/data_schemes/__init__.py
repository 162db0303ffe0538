"""Where data comes from: one module a scheme, each with `find` (static) and `read` (heavy).

`find(rest, options) -> Found` says what headers and listings tell; it imports neither torch nor
NumPy. `read(rest, options) -> Raw` opens the source; what is wrong is raised as a `JobError` whose
problems are placed relative to the data set in the job (`("ref",)`, `("label",)`).
"""
