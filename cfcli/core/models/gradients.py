"""The gradient of the loss, most of it without autograd: the fast way on a CPU, and the sparse one
anywhere.

For a batch of B ratings with errors e, the gradient of the users' embeddings is a sparse matrix (U,
I) of B entries, proportional to e, times the items' embeddings. Sorted by user that is a weighted
sum of bags of rows, for which PyTorch has its fastest kernel; autograd would write out B rows of D
first and then add them one by one.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding, embedding_bag

from cfcli.core.models.base import Factors


def loss(
    model: Factors, user: Tensor, item: Tensor, rating: Tensor, l2: float, total: int | None = None
) -> tuple[Tensor, Tensor]:
    """The mean squared error in units of the model plus ``l2`` times the penalties, to be
    differentiated by autograd; and the sum of the squared errors. Of a step of ``total`` ratings
    these may be a part: then the losses of all parts sum up to that of the step."""
    prediction, penalty = model(user, item)
    square = (prediction - rating).square()
    loss = (
        square.mean() * model.unit**-2
    )  # which makes loss and l2 the same for ratings of any scale
    if l2:
        loss = loss + l2 * (penalty.mean() + model.penalty())
    if total is not None:
        loss = loss * (len(rating) / total)
    return loss, square.detach().sum()


class _Side:
    """The users, or the items, of a batch, once each (N,): all there are, or where those are many,
    those in the batch.

    Attributes:
        place: of each row's among them, (B,).
        order: of the batch, so that rows of the same one lie together, (B,).
        begin, count: where in that order those of each begin, and how many they are, (N,).
        own, features, embeddings: (N, D), (N, F) and (N, D).
    """

    def __init__(self, model: Factors, name: str, index: Tensor, sparse: bool) -> None:
        self.sparse = sparse
        self.whole = getattr(model, f"{name}_embedding").weight
        self.ids: Tensor | None = None
        self.order = (
            torch.from_numpy(np.argsort(index.numpy())) if index.is_cpu else index.argsort()
        )
        if len(self.whole) <= 2 * len(index) and not sparse:
            self.place, self.count = index, torch.bincount(index, minlength=len(self.whole))
        else:
            ids, place, self.count = torch.unique_consecutive(
                index.index_select(0, self.order), return_inverse=True, return_counts=True
            )
            self.ids, self.place = (
                ids.long(),
                torch.empty_like(place).scatter_(0, self.order, place),
            )
        self.begin = self.count.cumsum(0) - self.count
        self.share = self.of(getattr(model, f"{name}_share"))
        self.own = self.embeddings = self.of(self.whole)
        if model.features:
            self.map = getattr(model, f"{name}_map")
            self.features = self.of(getattr(model, f"{name}_features"))
            self.embeddings = torch.addmm(self.own, self.features, self.map)
        if model.biases:
            self.bias = getattr(model, f"{name}_bias")

    def of(self, table: Tensor) -> Tensor:
        """Their rows."""
        return table if self.ids is None else table.index_select(0, self.ids)

    def sums(self, rows: Tensor) -> Tensor:
        """Of the rows (B, D) of each, (N, D)."""
        return embedding_bag(self.order, rows, self.begin, mode="sum")

    def sums_of(self, other: "_Side", weight: Tensor) -> Tensor:
        """Of the other side's embeddings in the rows of each, times ``weight`` (B,): (N, D)."""
        place, weight = other.place.index_select(0, self.order), weight.index_select(0, self.order)
        return embedding_bag(
            place, other.embeddings, self.begin, mode="sum", per_sample_weights=weight
        )

    def put(self, table: Tensor, rows: Tensor) -> None:
        """Gives a table the gradient of these rows, and zeros else: left out, where sparse."""
        if self.sparse:
            assert self.ids is not None
            table.grad = torch.sparse_coo_tensor(
                self.ids[None], rows, table.shape, is_coalesced=True, check_invariants=False
            )
            return
        table.grad = (
            rows if self.ids is None else torch.zeros_like(table).index_copy_(0, self.ids, rows)
        )


@torch.no_grad()
def backward(
    model: Factors, user: Tensor, item: Tensor, rating: Tensor, l2: float, total: int | None = None,
    sparse: bool = False,
) -> Tensor:  # fmt: skip
    """Sets the gradients of all parameters to those of :func:`loss`; returns the sum of the squared
    errors.

    Args:
        user, item: indices, (B,), int32.
        rating: (B,).
        total: ratings of the whole step, of which these may be a part.
        sparse: make the gradients of tables sparse, of the rows that the batch is on: nothing of a
            table's size.
    """
    total = total or len(rating)
    users, items = _Side(model, "user", user, sparse), _Side(model, "item", item, sparse)
    p, q = embedding(users.place, users.embeddings), embedding(items.place, items.embeddings)
    product = torch.linalg.vecdot(p, q)
    for parameter in model.parameters():
        parameter.grad = None
    if model.deep:
        p.requires_grad_(), q.requires_grad_(), product.requires_grad_()
    with torch.set_grad_enabled(model.deep):
        head = model.head(product, p, q)
    score = head.detach()
    if model.biases:
        score = score + model.biases_of(user, item)
    error = model.ratings(score) - rating
    slope = error * (2 / (model.unit * total))
    if model.link == "sigmoid":
        share = torch.sigmoid(score)
        slope *= share * (1 - share)
    weight = model.head_backward(head, product, slope)
    if l2:
        with torch.enable_grad():
            penalty = l2 * (len(rating) / total) * model.penalty()
        if penalty.requires_grad:
            penalty.backward()  # type: ignore[no-untyped-call]
    for side, other, row in ((users, items, p), (items, users, q)):
        grad = side.sums_of(other, weight)
        if row.grad is not None:
            grad += side.sums(row.grad)
        if model.features:
            of_map = side.features.T @ grad
            side.map.grad = of_map if side.map.grad is None else side.map.grad.add_(of_map)
        pull = (2 * l2 / total) * side.count * side.share
        side.put(side.whole, grad.addcmul_(pull[:, None], side.own))
        if model.biases:
            side.put(side.bias, side.sums(slope[:, None])[:, 0] + pull * side.of(side.bias))
    return error.square().sum()
