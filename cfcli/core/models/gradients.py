"""The gradient of the loss, most of it without autograd: the fast way on a CPU, and the sparse one
anywhere.

For a batch of B ratings with errors e, the gradient of the users' embeddings is a sparse matrix (U,
I) of B entries, proportional to e, times the items' embeddings. Sorted by user that is a weighted
sum of bags of rows, for which PyTorch has its fastest kernel. Autograd would first write out B rows
of D numbers and then add them one by one.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding, embedding_bag

from cfcli.core.models.base import Factors, Side


def loss(
    model: Factors,
    user: Tensor,
    item: Tensor,
    rating: Tensor,
    l2: float,
    total: int | None = None,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The mean squared error in units of the model plus ``l2`` times the penalties, to be
    differentiated by autograd.

    Args:
        model: that predicts.
        user: indices of the users, (B,).
        item: indices of the items, (B,).
        rating: (B,).
        l2: weight of the penalties.
        total: ratings of the whole step, where these are a part of it. The losses of all parts sum
            up to that of the step. By default these are all.
        weight: of each squared error in the loss, (B,); the penalties have none. None for 1.

    Returns:
        The loss, and the sum of the squared errors in squared ratings.
    """
    prediction, penalty = model(user, item)
    square = (prediction - rating).square()
    # In units of the model, loss and l2 are the same for ratings of any scale.
    weighted = square if weight is None else weight * square
    loss = weighted.mean() * model.unit**-2
    if l2:
        loss = loss + l2 * (penalty.mean() + model.penalty())
    if total is not None:
        loss = loss * (len(rating) / total)
    return loss, square.detach().sum()


class _BatchSide:
    """The users, or the items, that a batch needs, once each (N of them): those in the batch or,
    where it holds most of them, all there are.

    Args:
        side: all of them.
        index: theirs of each row of the batch, (B,).
        sparse: take those in the batch alone, and make sparse gradients.

    Attributes:
        ids: their indices (N,), or None where these are all.
        place: of each row's among them, (B,).
        order: of the batch, so that rows of the same one lie together, (B,).
        count: number of rows of each, (N,).
        begin: where in ``order`` the rows of each begin, (N,).
        own: their embeddings without features, (N, D).
        embeddings: with features, (N, D).
    """

    def __init__(self, side: Side, index: Tensor, sparse: bool) -> None:
        self.side, self.sparse = side, sparse
        self.ids: Tensor | None = None
        # NumPy sorts faster than PyTorch on a CPU.
        if index.is_cpu:
            self.order = torch.from_numpy(np.argsort(index.numpy()))
        else:
            self.order = index.argsort()
        n = len(side.embedding)
        if n <= 2 * len(index) and not sparse:
            self.place, self.count = index, torch.bincount(index, minlength=n)
        else:
            ids, place, self.count = torch.unique_consecutive(
                index.index_select(0, self.order), return_inverse=True, return_counts=True
            )
            self.ids = ids.long()
            self.place = torch.empty_like(place).scatter_(0, self.order, place)
        self.begin = self.count.cumsum(0) - self.count
        self.share = self.of(side.share)
        self.own = self.embeddings = self.of(side.embedding)
        if side.features is not None and side.map is not None:
            self.features = self.of(side.features)
            self.embeddings = torch.addmm(self.own, self.features, side.map)

    def of(self, table: Tensor) -> Tensor:
        """Their rows (N, ...) of a table of all.

        Args:
            table: a row for each user, or for each item.
        """
        return table if self.ids is None else table.index_select(0, self.ids)

    def sums(self, rows: Tensor) -> Tensor:
        """The sum of each one's rows, (N, D).

        Args:
            rows: of the batch, (B, D).
        """
        return embedding_bag(self.order, rows, self.begin, mode="sum")

    def sums_of(self, other: "_BatchSide", weight: Tensor) -> Tensor:
        """The weighted sum of each one's partners' embeddings, (N, D).

        Args:
            other: the partners' side.
            weight: of each row of the batch, (B,).
        """
        place, weight = other.place.index_select(0, self.order), weight.index_select(0, self.order)
        return embedding_bag(
            place, other.embeddings, self.begin, mode="sum", per_sample_weights=weight
        )

    def set_gradient(self, table: Tensor, rows: Tensor) -> None:
        """Gives a table of all the gradient of these rows; that of the others is zero, or left out
        of a sparse gradient.

        Args:
            table: a row for each user, or for each item.
            rows: the gradient of these, (N, ...).
        """
        if self.ids is None:
            table.grad = rows
        elif self.sparse:
            table.grad = torch.sparse_coo_tensor(
                self.ids[None], rows, table.shape, is_coalesced=True, check_invariants=False
            )
        else:
            table.grad = torch.zeros_like(table).index_copy_(0, self.ids, rows)


@torch.no_grad()
def backward(
    model: Factors,
    user: Tensor,
    item: Tensor,
    rating: Tensor,
    l2: float,
    total: int | None = None,
    sparse: bool = False,
    weight: Tensor | None = None,
) -> Tensor:
    """Sets the gradients of all parameters to those of :func:`loss`.

    Args:
        model: that predicts.
        user: indices of the users, (B,), int32.
        item: indices of the items, (B,), int32.
        rating: (B,).
        l2: weight of the penalties.
        total: ratings of the whole step, where these are a part of it.
        sparse: make the gradients of tables sparse, of the rows that the batch is on: nothing is
            then of a table's size.
        weight: of each squared error in the loss, (B,); None for 1.

    Returns:
        The sum of the squared errors, in squared ratings.
    """
    total = total or len(rating)
    sides = model.sides
    users, items = _BatchSide(sides.user, user, sparse), _BatchSide(sides.item, item, sparse)
    p, q = embedding(users.place, users.embeddings), embedding(items.place, items.embeddings)
    product = torch.linalg.vecdot(p, q)
    for parameter in model.parameters():
        parameter.grad = None
    if model.deep:
        p.requires_grad_(), q.requires_grad_(), product.requires_grad_()
    with torch.set_grad_enabled(model.deep):
        head = model.head(product, p, q)
    score = model.with_biases(head.detach(), user, item)
    error = model.ratings(score) - rating
    slope = error * (2 / (model.unit * total))
    if weight is not None:
        slope *= weight
    if model.link == "sigmoid":
        share = torch.sigmoid(score)
        slope *= share * (1 - share)
    product_slope = model.head_backward(head, product, slope)
    if l2:
        with torch.enable_grad():
            penalty = l2 * (len(rating) / total) * model.penalty()
        if penalty.requires_grad:
            penalty.backward()  # type: ignore[no-untyped-call]
    for own, other, row in ((users, items, p), (items, users, q)):
        grad = own.sums_of(other, product_slope)
        if row.grad is not None:
            grad += own.sums(row.grad)
        of_map = own.side.map
        if of_map is not None:
            map_grad = own.features.T @ grad
            of_map.grad = map_grad if of_map.grad is None else of_map.grad.add_(map_grad)
        pull = (2 * l2 / total) * own.count * own.share
        own.set_gradient(own.side.embedding, grad.addcmul_(pull[:, None], own.own))
        bias = own.side.bias
        if bias is not None:
            bias_grad = own.sums(slope[:, None])[:, 0]
            own.set_gradient(bias, bias_grad + pull * own.of(bias))
    return error.square().sum()
