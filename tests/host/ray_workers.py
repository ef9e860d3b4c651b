"""A worker as Raylight's are: a Ray actor with a model of its own. Here it is a tiny FLUX, whose tokens are shared out, on CPUs."""

import os
from datetime import timedelta

SECONDS = 15.0                  # that a worker waits for another's part


class Worker:
    """What the nodes ask of Raylight's `RayWorker`: get_parallel_dict, model_function_runner, and a method that samples."""

    def __init__(self, rank: int, count: int, port: int):
        import torch.distributed as dist

        from tools.pack import load_host
        load_host()
        from tools.zoo import builders
        dist.init_process_group("gloo", rank=rank, world_size=count, init_method=f"tcp://127.0.0.1:{port}",
                                timeout=timedelta(seconds=SECONDS))
        self.tiny = builders()["flux"].make()
        self.model, self.rank = self.tiny.model, rank
        self.asked, self.disturbed, self.breaks, self.piped = [], 0.0, None, False
        self.share_out(self.model.model.diffusion_model, count)

    def share_out(self, network, count: int):
        """Every worker computes a part of the tokens, which attend to all: sequence parallelism."""
        import torch
        import torch.distributed as dist
        whole = network.forward_orig

        def gathered(part, dim):
            parts = [torch.empty_like(part) for _ in range(count)]
            dist.all_gather(parts, part.contiguous())
            return torch.cat(parts, dim)

        def attend(function, q, k, v, *args, **kwargs):
            return function(q, gathered(k, 2), gathered(v, 2), *args, **kwargs)

        def forward(img, img_ids, txt, txt_ids, *args, transformer_options, **kwargs):
            if len(self.asked) == self.breaks:
                raise ValueError("this worker's model broke")
            self.asked.append(self.step)
            own = [x.chunk(count, dim=1)[self.rank] for x in (img, img_ids, txt, txt_ids)]
            options = {**transformer_options, "optimized_attention_override": attend}
            output = gathered(whole(*own, *args, transformer_options=options, **kwargs), 1)
            return output + self.disturbed * torch.randn(output.shape, generator=torch.Generator().manual_seed(self.rank))
        network.forward_orig = forward

    def get_parallel_dict(self):
        return {"is_xdit": True, "is_fsdp": False, "pipefusion_enabled": self.piped}

    def set_piped(self, piped: bool):
        self.piped = piped

    def model_function_runner(self, function, *args, **kwargs):
        self.model = function(self.model, *args, **kwargs)

    def model_function_runner_get_values(self, function, *args, **kwargs):
        return function(self.model, *args, **kwargs)

    def common_ksampler(self, disturbed: float = 0.0, breaks: int | None = None, stops: int | None = None, **given):
        """-> (latent, the steps at which the model ran). disturbed: noise of this worker's own in what its model predicts; breaks: the call
        in which its model fails; stops: the step after which its sampler does."""
        self.asked, self.disturbed, self.breaks, self.step = [], disturbed, breaks, 0

        def callback(step, *_):
            self.step = step + 1
            if step == stops:
                raise ValueError("this worker's sampler stopped")
        return self.tiny.sample(self.model, callback=callback, texts=(8, 8), **given).numpy(), self.asked

    def wrapped(self) -> bool:
        """Whether anything of a cache is on the model."""
        return "toca" in str(self.model.wrappers).lower()


def environment(project) -> dict:
    path = os.pathsep.join([str(project), str(project / "tests/host")])
    return {"env_vars": {"COMFYUI_PATH": os.environ["COMFYUI_PATH"], "PYTHONPATH": path, "OMP_NUM_THREADS": "1",
                         "PYTHONDONTWRITEBYTECODE": "1"}}
