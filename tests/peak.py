"""How much memory tensors take at once, counted: on the CPU no allocator tells."""

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Peak(TorchDispatchMode):
    """`most`: the largest number of bytes, of tensors made inside it, that lived at once."""

    def __init__(self):
        super().__init__()
        self.live, self.most = {}, 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        given = {tensor.untyped_storage()._cdata for tensor in tree_leaves((arguments, named)) if torch.is_tensor(tensor)}
        result = function(*arguments, **(named or {}))
        for made in (tensor.untyped_storage() for tensor in tree_leaves(result) if torch.is_tensor(tensor)):
            if made._cdata not in given:
                self.live[made._cdata] = StorageWeakRef(made), made.nbytes()
        self.live = {key: held for key, held in self.live.items() if not held[0].expired()}
        self.most = max(self.most, sum(size for _, size in self.live.values()))
        return result
