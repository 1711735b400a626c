"""Everything that opens, sizes, writes or draws pictures; knows nothing of ours but utils."""
