"""What a bundle holds and how it answers: contract, feature SQL, model, and their proof."""
