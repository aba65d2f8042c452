"""What a person does beside the graph: look, take a batch out, clean up, find what is wrong."""
