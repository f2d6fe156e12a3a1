# SPDX-License-Identifier: Apache-2.0
"""The vision-language architectures, each a function that builds it tiny and at random.

The shapes follow the published models: the same modules, joined in the same way, with fewer and narrower layers.
Random weights come from PyTorch's global generator, which the caller seeds.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch  # type: ignore[import-not-found]  # only .vllm/venv has it
import transformers as hub  # type: ignore[import-not-found]  # only .vllm/venv has it

from .templates import GEMMA, PLACEHOLDER, QWEN, Marks
from .tiny import HEAD, HIDDEN, LAYERS, VISION_HIDDEN, VISION_SIDE, Tiny, text_settings, vision_settings
from .vocabulary import ENTRIES, tokenizer

_CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def _chatml_tokenizer(marks: Marks, *more: str, named: Mapping[str, str] = MappingProxyType({})) -> Any:
    special = (*_CHATML, *named.values(), *more)
    return tokenizer(marks, special, end="<|im_end|>", padding="<|endoftext|>", named=named)


def _ends(entries: Mapping[str, int]) -> dict[str, int]:
    """How a text model of the ChatML family is told its own tokens."""
    padding = entries["<|endoftext|>"]
    return {"bos_token_id": padding, "eos_token_id": entries["<|im_end|>"], "pad_token_id": padding}


def gemma3() -> Tiny:
    """Gemma 3, which MedGemma is: SigLIP, pooling to few soft tokens, sliding and full attention in turns."""
    end = "<end_of_turn>"
    named = {
        "bos_token": "<bos>",
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    }
    special = ("<pad>", "<eos>", "<unk>", "<start_of_turn>", end, *named.values())
    lines = ["\n" * count for count in range(1, 5)]  # vLLM looks these up, for the breaks around an image
    words = tokenizer(GEMMA, special, end="<eos>", padding="<pad>", named=named, ordinary=lines)
    entries = words.get_vocab()
    settings = hub.Gemma3Config(
        text_config=text_settings(
            head_dim=HEAD,
            query_pre_attn_scalar=HEAD,
            sliding_window=512,
            layer_types=["sliding_attention" if layer % 2 == 0 else "full_attention" for layer in range(LAYERS)],
            pad_token_id=entries["<pad>"],
            eos_token_id=entries["<eos>"],
            bos_token_id=entries["<bos>"],
        ),
        vision_config=vision_settings(vision_use_head=False),
        mm_tokens_per_image=16,
        tie_word_embeddings=False,
        boi_token_index=entries[named["boi_token"]],
        eoi_token_index=entries[named["eoi_token"]],
        image_token_index=entries[named["image_token"]],
    )
    pictures = hub.Gemma3ImageProcessor(size={"height": VISION_SIDE, "width": VISION_SIDE})
    processor = hub.Gemma3Processor(
        image_processor=pictures, tokenizer=words, image_seq_length=16, chat_template=words.chat_template
    )
    model = hub.Gemma3ForConditionalGeneration(settings)
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=0.02)  # else zero: blind
    return Tiny(model, processor, words, (entries[end], entries["<eos>"]))


def _qwen_words() -> tuple[Any, dict[str, int]]:
    words = _chatml_tokenizer(QWEN, "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    entries = words.get_vocab()
    names = ("vision_start", "vision_end", "image", "video")
    texts = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    return words, {f"{name}_token_id": entries[text] for name, text in zip(names, texts, strict=True)}


def _qwen_vision(patch: int, **more: object) -> dict[str, Any]:
    return {
        "depth": 2,
        "hidden_size": VISION_HIDDEN,
        "intermediate_size": 2 * VISION_HIDDEN,
        "num_heads": 2,
        "patch_size": patch,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": HIDDEN,
        **more,
    }


def _qwen_pixels(patch: int) -> dict[str, int]:
    """An image becomes 4 to 64 tokens, one for two by two patches."""
    return {"shortest_edge": 4 * (2 * patch) ** 2, "longest_edge": 64 * (2 * patch) ** 2}


def qwen3_vl() -> Tiny:
    """Qwen3-VL: images of any size, interleaved rotary positions, vision features of several depths."""
    patch = 16
    words, tokens = _qwen_words()
    rotary = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [6, 5, 5], "mrope_interleaved": True}
    settings = hub.Qwen3VLConfig(
        text_config=text_settings(head_dim=HEAD, rope_parameters=rotary, **_ends(words.get_vocab())),
        vision_config=_qwen_vision(patch, num_position_embeddings=256, deepstack_visual_indexes=[0]),
        tie_word_embeddings=False,
        **tokens,
    )
    pixels = _qwen_pixels(patch)
    processor = hub.Qwen3VLProcessor(
        image_processor=hub.Qwen2VLImageProcessor(size=pixels, patch_size=patch, temporal_patch_size=2, merge_size=2),
        tokenizer=words,
        video_processor=hub.Qwen3VLVideoProcessor(size=pixels, patch_size=patch),
        chat_template=words.chat_template,
    )
    return Tiny(hub.Qwen3VLForConditionalGeneration(settings), processor, words, (words.eos_token_id,))


def qwen2_5_vl() -> Tiny:
    """Qwen2.5-VL: images of any size, windowed attention in its vision tower."""
    patch = 14
    words, tokens = _qwen_words()
    rotary = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]}
    settings = hub.Qwen2_5_VLConfig(
        text_config=text_settings(rope_parameters=rotary, **_ends(words.get_vocab())),
        vision_config=_qwen_vision(patch, window_size=112, fullatt_block_indexes=[1]),
        tie_word_embeddings=False,
        **tokens,
    )
    pixels = _qwen_pixels(patch)
    processor = hub.Qwen2_5_VLProcessor(
        image_processor=hub.Qwen2VLImageProcessor(size=pixels, patch_size=patch, temporal_patch_size=2, merge_size=2),
        tokenizer=words,
        video_processor=hub.Qwen2VLVideoProcessor(size=pixels, patch_size=patch),
        chat_template=words.chat_template,
    )
    return Tiny(hub.Qwen2_5_VLForConditionalGeneration(settings), processor, words, (words.eos_token_id,))


def llava() -> Tiny:
    """LLaVA 1.5, which LLaVA-Med follows: a CLIP tower, a projection, a Llama."""
    words = _chatml_tokenizer(PLACEHOLDER, named={"image_token": "<image>"})
    entries = words.get_vocab()
    selection = "default"
    settings = hub.LlavaConfig(
        text_config=text_settings(model_type="llama", **_ends(entries)),
        vision_config=vision_settings(model_type="clip_vision_model", num_hidden_layers=3, projection_dim=64),
        image_token_index=entries["<image>"],
        image_seq_length=(VISION_SIDE // 14) ** 2,
        vision_feature_layer=-2,
        vision_feature_select_strategy=selection,
        tie_word_embeddings=False,
    )
    side = {"height": VISION_SIDE, "width": VISION_SIDE}
    processor = hub.LlavaProcessor(
        image_processor=hub.CLIPImageProcessor(size={"shortest_edge": VISION_SIDE}, crop_size=side),
        tokenizer=words,
        patch_size=14,
        vision_feature_select_strategy=selection,
        num_additional_image_tokens=1,
        chat_template=words.chat_template,
    )
    return Tiny(hub.LlavaForConditionalGeneration(settings), processor, words, (words.eos_token_id,))


def blip2() -> Tiny:
    """BLIP-2: a Q-Former asks the image 16 questions, OPT answers. Positions are learnt: 2,048 and no more."""
    words = _chatml_tokenizer(PLACEHOLDER, named={"image_token": "<image>"})
    entries = words.get_vocab()
    width = {"hidden_size": VISION_HIDDEN, "intermediate_size": 2 * VISION_HIDDEN, "num_attention_heads": 2}
    settings = hub.Blip2Config(
        vision_config={**width, "num_hidden_layers": 2, "image_size": VISION_SIDE, "patch_size": 14},
        qformer_config={**width, "vocab_size": ENTRIES, "num_hidden_layers": 2, "encoder_hidden_size": VISION_HIDDEN},
        text_config={
            "model_type": "opt",
            "vocab_size": ENTRIES,
            "hidden_size": HIDDEN,
            "word_embed_proj_dim": HIDDEN,
            "ffn_dim": 2 * HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HIDDEN // HEAD,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": False,
            **_ends(entries),
        },
        num_query_tokens=16,
        image_text_hidden_size=VISION_HIDDEN,
        image_token_index=entries["<image>"],
        tie_word_embeddings=False,
    )
    processor = hub.Blip2Processor(
        image_processor=hub.BlipImageProcessor(size={"height": VISION_SIDE, "width": VISION_SIDE}),
        tokenizer=words,
        num_query_tokens=16,
    )
    return Tiny(hub.Blip2ForConditionalGeneration(settings), processor, words, (words.eos_token_id,))


def smolvlm() -> Tiny:
    """SmolVLM: SigLIP, pixels shuffled into fewer tokens, a Llama. Images are cut into tiles."""
    named = {
        "image_token": "<image>",
        "fake_image_token": "<fake_token_around_image>",
        "end_of_utterance_token": "<end_of_utterance>",
        "global_image_token": "<global-img>",
    }
    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    words = _chatml_tokenizer(PLACEHOLDER, *tiles, named=named)
    entries = words.get_vocab()
    settings = hub.SmolVLMConfig(
        text_config=text_settings(model_type="llama", **_ends(entries)),
        vision_config=vision_settings(image_size=128, patch_size=16),
        scale_factor=2,
        image_token_id=entries["<image>"],
        pad_token_id=entries["<|endoftext|>"],
        tie_word_embeddings=False,
    )
    tile = {"longest_edge": 128}
    processor = hub.SmolVLMProcessor(
        image_processor=hub.SmolVLMImageProcessor(
            size={"longest_edge": 256}, max_image_size=tile, do_image_splitting=False
        ),
        tokenizer=words,
        video_processor=hub.SmolVLMVideoProcessor(size=tile, max_image_size=tile),
        image_seq_len=16,
        chat_template=words.chat_template,
    )
    return Tiny(hub.SmolVLMForConditionalGeneration(settings), processor, words, (words.eos_token_id,))


ARCHITECTURES: Mapping[str, Callable[[], Tiny]] = {
    build.__name__: build for build in (gemma3, qwen3_vl, qwen2_5_vl, llava, blip2, smolvlm)
}
