"""What the released files hold: name -> shape of every weight, file by file, as facts about those files."""


def linear(name: str, rows: int, cols: int) -> dict:
    return {f"{name}.weight": (rows, cols), f"{name}.bias": (rows,)}


def linears(prefix: str, sizes: dict) -> dict:
    """sizes: layer -> (rows, cols)."""
    return {key: shape for name, size in sizes.items() for key, shape in linear(prefix + name, *size).items()}


# ---- facebookresearch/DiT: the averaged weights themselves ----

def dit(pixels: int, hidden: int = 1152, depth: int = 28, patch: int = 2, classes: int = 1000) -> dict:
    shapes = {"pos_embed": (1, (pixels // 8 // patch) ** 2, hidden), "y_embedder.embedding_table.weight": (classes + 1, hidden),
              "x_embedder.proj.weight": (hidden, 4, patch, patch), "x_embedder.proj.bias": (hidden,),
              **linears("", {"t_embedder.mlp.0": (hidden, 256), "t_embedder.mlp.2": (hidden, hidden),
                             "final_layer.linear": (patch * patch * 8, hidden), "final_layer.adaLN_modulation.1": (2 * hidden, hidden)})}
    for block in range(depth):
        shapes |= linears(f"blocks.{block}.", {
            "attn.qkv": (3 * hidden, hidden), "attn.proj": (hidden, hidden), "mlp.fc1": (4 * hidden, hidden),
            "mlp.fc2": (hidden, 4 * hidden), "adaLN_modulation.1": (6 * hidden, hidden)})
    return shapes


# ---- PixArt: in the authors' files, under "state_dict", and in those of diffusers ----

def pixart(pixels: int, captions: int, micro: bool = False, positions: bool = True) -> dict:
    """micro: size and aspect ratio are embedded too, only in alpha's 1024-MS. positions: they are stored."""
    hidden = 1152
    shapes = {"x_embedder.proj.weight": (hidden, 4, 2, 2), "x_embedder.proj.bias": (hidden,), "y_embedder.y_embedding": (captions, 4096),
              "final_layer.scale_shift_table": (2, hidden),
              **linears("", {"t_embedder.mlp.0": (hidden, 256), "t_embedder.mlp.2": (hidden, hidden), "t_block.1": (6 * hidden, hidden),
                             "y_embedder.y_proj.fc1": (hidden, 4096), "y_embedder.y_proj.fc2": (hidden, hidden),
                             "final_layer.linear": (32, hidden)})}
    for name in ("csize_embedder", "ar_embedder") if micro else ():
        shapes |= linears(f"{name}.mlp.", {"0": (hidden // 3, 256), "2": (hidden // 3, hidden // 3)})
    for block in range(28):
        shapes |= {f"blocks.{block}.scale_shift_table": (6, hidden), **linears(f"blocks.{block}.", {
            "attn.qkv": (3 * hidden, hidden), "attn.proj": (hidden, hidden), "cross_attn.q_linear": (hidden, hidden),
            "cross_attn.kv_linear": (2 * hidden, hidden), "cross_attn.proj": (hidden, hidden),
            "mlp.fc1": (4 * hidden, hidden), "mlp.fc2": (hidden, 4 * hidden)})}
    return shapes | ({"pos_embed": (1, (pixels // 16) ** 2, hidden)} if positions else {})


def pixart_diffusers(null_caption: int = 0, micro: bool = False) -> dict:
    """null_caption: its length in the files from before diffusers 0.26, which are alpha's; later ones store none."""
    hidden = 1152
    embedders = {"timestep_embedder": hidden, **({"resolution_embedder": 384, "aspect_ratio_embedder": 384} if micro else {})}
    shapes = {"pos_embed.proj.weight": (hidden, 4, 2, 2), "pos_embed.proj.bias": (hidden,), "scale_shift_table": (2, hidden),
              **linears("", {"adaln_single.linear": (6 * hidden, hidden), "caption_projection.linear_1": (hidden, 4096),
                             "caption_projection.linear_2": (hidden, hidden), "proj_out": (32, hidden)})}
    for name, width in embedders.items():
        shapes |= linears(f"adaln_single.emb.{name}.", {"linear_1": (width, 256), "linear_2": (width, width)})
    for block in range(28):
        attention = {f"{attn}.{name}": (hidden, hidden) for attn in ("attn1", "attn2") for name in ("to_q", "to_k", "to_v", "to_out.0")}
        shapes |= {f"transformer_blocks.{block}.scale_shift_table": (6, hidden), **linears(f"transformer_blocks.{block}.", {
            **attention, "ff.net.0.proj": (4 * hidden, hidden), "ff.net.2": (hidden, 4 * hidden)})}
    return shapes | ({"caption_projection.y_embedding": (null_caption, 4096)} if null_caption else {})


# ---- FLUX.1: Black Forest Labs' files and those of diffusers; only dev embeds guidance ----

def flux(guidance: bool) -> dict:
    hidden, head = 3072, 128
    embedders = {"time_in": 256, "vector_in": 768, **({"guidance_in": 256} if guidance else {})}
    shapes = linears("", {"img_in": (hidden, 64), "txt_in": (hidden, 4096), "final_layer.linear": (64, hidden),
                          "final_layer.adaLN_modulation.1": (2 * hidden, hidden)})
    for name, width in embedders.items():
        shapes |= linears(f"{name}.", {"in_layer": (hidden, width), "out_layer": (hidden, hidden)})
    for block in range(19):
        for stream in ("img", "txt"):
            shapes |= linears(f"double_blocks.{block}.{stream}_", {
                "mod.lin": (6 * hidden, hidden), "attn.qkv": (3 * hidden, hidden), "attn.proj": (hidden, hidden),
                "mlp.0": (4 * hidden, hidden), "mlp.2": (hidden, 4 * hidden)})
            shapes |= {f"double_blocks.{block}.{stream}_attn.norm.{name}_norm.scale": (head,) for name in ("query", "key")}
    for block in range(38):
        shapes |= linears(f"single_blocks.{block}.", {
            "modulation.lin": (3 * hidden, hidden), "linear1": (7 * hidden, hidden), "linear2": (hidden, 5 * hidden)})
        shapes |= {f"single_blocks.{block}.norm.{name}_norm.scale": (head,) for name in ("query", "key")}
    return shapes


def flux_diffusers(guidance: bool) -> dict:
    hidden, head = 3072, 128
    embedders = {"timestep_embedder": 256, "text_embedder": 768, **({"guidance_embedder": 256} if guidance else {})}
    shapes = linears("", {"x_embedder": (hidden, 64), "context_embedder": (hidden, 4096), "proj_out": (64, hidden),
                          "norm_out.linear": (2 * hidden, hidden)})
    for name, width in embedders.items():
        shapes |= linears(f"time_text_embed.{name}.", {"linear_1": (hidden, width), "linear_2": (hidden, hidden)})
    projections = ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj", "to_out.0", "to_add_out")
    for block in range(19):
        shapes |= linears(f"transformer_blocks.{block}.", {
            **{f"attn.{name}": (hidden, hidden) for name in projections},
            **{name: (6 * hidden, hidden) for name in ("norm1.linear", "norm1_context.linear")},
            **{f"{name}.net.0.proj": (4 * hidden, hidden) for name in ("ff", "ff_context")},
            **{f"{name}.net.2": (hidden, 4 * hidden) for name in ("ff", "ff_context")}})
        shapes |= {f"transformer_blocks.{block}.attn.norm_{name}.weight": (head,) for name in ("q", "k", "added_q", "added_k")}
    for block in range(38):
        shapes |= linears(f"single_transformer_blocks.{block}.", {
            **{f"attn.{name}": (hidden, hidden) for name in ("to_q", "to_k", "to_v")}, "norm.linear": (3 * hidden, hidden),
            "proj_mlp": (4 * hidden, hidden), "proj_out": (hidden, 5 * hidden)})
        shapes |= {f"single_transformer_blocks.{block}.attn.norm_{name}.weight": (head,) for name in ("q", "k")}
    return shapes
