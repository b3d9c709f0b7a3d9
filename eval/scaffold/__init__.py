"""New attacks, rules, data sets and models to start from: a working file and its test."""
