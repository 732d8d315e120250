"""How answers hold when inputs get worse: attacks, corruptions, typos, missing values."""
