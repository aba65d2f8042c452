"""``make demo``: the whole loop on one machine, with every server started and stopped for it."""
