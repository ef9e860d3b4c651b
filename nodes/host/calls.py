"""One call of the model as the host makes it, told in the core's words."""

from comfy.patcher_extension import WrappersMP

from ..systems import bound_of, system_of
from ..systems.sizes import latent_sizes


def plain_model(diffusion_model):
    """Without torch.compile's shell."""
    return getattr(diffusion_model, "_orig_mod", diffusion_model)


def sizes_of(diffusion_model, x, context, arguments: dict):
    """What a call works on; arguments: whatever else the host passes to the model."""
    system = system_of(diffusion_model)
    return (system and system.sizes or latent_sizes)(diffusion_model, x, context, arguments)


def parts_of(diffusion_model, sigma: float, arguments: dict, options: dict) -> tuple:
    """The parts of a packed sample, where they have noise levels of their own."""
    system, shapes = system_of(diffusion_model), arguments.get("latent_shapes")
    if system is None or system.parts is None or shapes is None or len(shapes) < 2:
        return ()
    return system.parts(diffusion_model, sigma, shapes, options)


def conds_of(options: dict) -> int:
    """How many conditionings the host computes together in a call."""
    return len(options.get("cond_or_uncond", (0,)))


def about_call(executor, x, context, arguments: dict, options: dict) -> tuple:
    """-> (the model's layout bound to it, what the call works on, how many conditionings) of a call at APPLY_MODEL."""
    model = plain_model(executor.class_obj.diffusion_model)
    return bound_of(model)[0], sizes_of(model, x, context, arguments), conds_of(options)


def hindrance(diffusion_model, region, x, arguments: dict, options: dict) -> str:
    """What works on the tokens of all blocks by their places in the picture, so that none can be computed alone; "" where nothing does."""
    system, mask = system_of(diffusion_model), arguments.get("attention_mask")
    for name, given in (("a ControlNet", arguments.get("control") is not None),
                        ("an attention mask", mask is not None and not (system and system.text_masked)),
                        ("the strength of a guide", bool(arguments.get("guide_attention_entries"))),
                        ("a patch of another node", bool(options.get("patches") or options.get("patches_replace"))),
                        ("a conditioning for a part of the picture", region is not None and not region.fits(x)),
                        ("a reference picture with a timestep of its own", has_own_times(diffusion_model, arguments))):
        if given:
            return name
    return ""


def has_own_times(diffusion_model, arguments: dict) -> bool:
    """Whether reference pictures are modulated as at time 0: where a node asks for it, or the model by itself."""
    by_itself = getattr(getattr(diffusion_model, "params", diffusion_model), "default_ref_method", None)
    return bool(arguments.get("ref_latents")) and arguments.get("ref_latents_method", by_itself) == "index_timestep_zero"


class CallByCall:
    """Stands in the calls of a sampling run, for whoever inherits from it and says what each gives.

    index      of the evaluation, from 0 on
    ordinal    of the call in it, from 1 on
    """

    def __init__(self):
        self.index, self.ordinal = -1, 0

    def put_on(self, model, key: str):
        """A clone of a MODEL whose next run is asked about."""
        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, key, self.predict_noise)
        model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, key, self.apply_model)
        return model

    def predict_noise(self, executor, *args, **kwargs):
        self.index, self.ordinal = self.index + 1, 0
        return executor(*args, **kwargs)

    def apply_model(self, executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options={}, **kwargs):
        def call():
            return executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)

        self.ordinal += 1
        return self.called(call, about_call(executor, x, c_crossattn, {"control": control, **kwargs}, transformer_options), x)

    def called(self, call, about: tuple, x):
        """What one call, of the sample x (B, C, ...), says; about: as `about_call`."""
        raise NotImplementedError
