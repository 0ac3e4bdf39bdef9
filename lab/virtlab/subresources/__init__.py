"""Requests that are no plain read or write of an object: actions, reviews, tokens, scale and eviction."""
