"""The task ``change``: pairs of images with masks of what changed between them."""
