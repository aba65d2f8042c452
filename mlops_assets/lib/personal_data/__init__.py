"""Personal data: what is never written, what a digest stands for, and who was erased."""
