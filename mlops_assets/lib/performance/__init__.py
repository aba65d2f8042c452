"""How good the answers of a day were: measured where labels have come, and estimated where not."""
