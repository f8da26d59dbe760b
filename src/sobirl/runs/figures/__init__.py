"""Figures of the experiments; the only place that loads matplotlib."""
