"""What is written down beside the data: how far batches are, what is current, what was decided."""
