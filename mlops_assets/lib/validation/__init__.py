"""From text as it landed to rows that keep the contract, and what a batch is judged by."""
