"""Splits and subsets made of downloaded archives."""
