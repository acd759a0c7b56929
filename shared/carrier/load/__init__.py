"""Many callers at once from one lean loop, for benchmarks: what they say, what they hear, how late it was. Linux."""
