"""Token-wise feature caching (ToCa, ICLR 2025, arXiv 2410.05317): the algorithm, independent of any host."""
