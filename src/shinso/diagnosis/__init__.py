"""What an expert would look at when a network does not learn: checks with a number each, ranked advice."""
