"""Class centres, and the classifier that takes the nearest one."""

from __future__ import annotations

import torch
from torch import Tensor


def class_centres(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The classes present (c,), their means (c, d), and for each point the row of its class (n,).

    >>> z = torch.tensor([[0.0, 0.0], [2.0, 4.0], [6.0, 6.0]])
    >>> class_centres(z, torch.tensor([7, 7, 9]))
    (tensor([7, 9]), tensor([[1., 2.],
            [6., 6.]]), tensor([0, 0, 1]))
    """
    classes, row, counts = torch.unique(y, return_inverse=True, return_counts=True)
    sums = z.new_zeros(len(classes), z.shape[1]).index_add(0, row, z)
    return classes, sums / counts[:, None], row


def nearest_centre_predictions(train_z: Tensor, train_y: Tensor, z: Tensor) -> Tensor:
    """For each row of z (n, d) the class whose mean over the training points is nearest, (n,).

    Euclidean. Of two centres equally near the one of the smaller class number. Training rows without
    a label are left out.
    """
    keep = train_y >= 0
    classes, centres, _ = class_centres(train_z[keep].double(), train_y[keep])
    return classes[torch.cdist(z.double(), centres).argmin(1)]
