"""``mlops doctor``: one examination a function, and what they have in common."""
