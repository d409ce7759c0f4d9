"""Decides pass, regression or inconclusive."""
