"""`sobirl label RUN`: a page on which people compare clips."""
