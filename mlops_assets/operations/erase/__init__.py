"""``mlops erase``: finds what holds rows of somebody, removes it, and says what stays."""
