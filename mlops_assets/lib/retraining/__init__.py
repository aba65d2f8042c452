"""When a use case is trained anew, and why."""
