"""What clients ask, and how they are answered."""
