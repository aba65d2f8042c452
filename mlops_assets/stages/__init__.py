"""How the graph is made: one asset with its checks a module, in the order of the graph."""
