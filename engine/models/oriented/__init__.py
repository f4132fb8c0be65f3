"""Oriented R-CNN (Xie et al. 2021): a pyramid, proposals of any angle, and a head that judges them."""
