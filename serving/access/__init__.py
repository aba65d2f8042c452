"""Who may ask, how much, and how a request is kept from doing harm."""
