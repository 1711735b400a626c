"""All that knows DOTA's files and rules, and nothing of networks."""
