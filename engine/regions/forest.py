"""Which labels are one region: a union-find whose sets can also be kept apart for good.

Guarantees: the root of a set is its largest label, so a set that reaches the rows being worked on has a root
there too; sets that were declared apart are never joined, neither directly nor through others; the outcome
depends only on the order of the calls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int32]


class LabelForest:
    """Union-find over the labels 1..n (0 is no label) with pairs that must stay apart."""

    def __init__(self) -> None:
        self._parent: Labels = np.zeros(1024, np.int32)
        self._apart: dict[int, set[int]] = {}
        self.count = 0

    def add(self, number: int) -> int:
        """Make ``number`` labels, each a set of its own.

        Returns:
            The label before the first new one.
        """
        base = self.count
        self.count += number
        if self.count >= self._parent.size:
            self._parent = np.concatenate((self._parent, np.zeros(max(self.count, self._parent.size), np.int32)))
        self._parent[base + 1 : self.count + 1] = np.arange(base + 1, self.count + 1)
        return base

    def find(self, label: int) -> int:
        """Root of a label."""
        parent = self._parent
        root = label
        while (above := int(parent[root])) != root:
            root = above
        while label != root:
            label, parent[label] = int(parent[label]), root
        return root

    def roots(self, labels: npt.NDArray[Any]) -> Labels:
        """Roots of many labels; 0 stays 0."""
        found: Labels = self._parent[labels]
        while True:
            above = self._parent[found]
            if np.array_equal(above, found):
                return found
            found = above

    def flatten(self, first: int) -> None:
        """Point every label from ``first`` on straight at its root, so that :meth:`lookup` is right for them."""
        part = self._parent[first : self.count + 1]
        part[:] = self.roots(part)

    @property
    def lookup(self) -> Labels:
        """Table from label to root, right where :meth:`flatten` has been since the last union."""
        return self._parent

    def keep_apart(self, first: npt.NDArray[Any], second: npt.NDArray[Any]) -> None:
        """Declare pairs of labels different for good; pairs that are one already stay so."""
        apart = self._apart
        one, other = self.roots(first), self.roots(second)
        different = one != other
        for a, b in zip(one[different].tolist(), other[different].tolist(), strict=True):
            apart.setdefault(a, set()).add(b)
            apart.setdefault(b, set()).add(a)

    def union(self, one: int, other: int) -> bool:
        """Join two sets unless they must stay apart.

        Returns:
            Whether both labels are in one set now.
        """
        a, b = self.find(one), self.find(other)
        if a == b:
            return True
        if b in self._apart.get(a, ()):
            return False
        low, high = min(a, b), max(a, b)
        self._parent[low] = high
        if foes := self._apart.pop(low, None):
            for foe in foes:
                theirs = self._apart[foe]
                theirs.discard(low)
                theirs.add(high)
            self._apart.setdefault(high, set()).update(foes)
        return True

    def forget_except(self, active: set[int]) -> None:
        """Drop what is known about sets whose roots are not ``active``: nothing will ask to join them again."""
        self._apart = {root: foes & active for root, foes in self._apart.items() if root in active}
