"""Making a version serve, in either direction: forward after an approval, and back."""
