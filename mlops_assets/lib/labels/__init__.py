"""Labels that come from a source, as the server would have written them into the prediction log."""
