"""Compiles feature SQL into one Python function, for a few rows at a time.

DuckDB's binder decides what the statement means, and DuckDB's answers whether the function is used:
`plan` asks for the bound expressions, `code`, `operations` and `casts` write them as Python,
`compiled` makes the function and `proof` compares it with DuckDB. What is not known to be equal bit
by bit is refused, and a row for which it might not be is handed back; DuckDB computes both.
"""
